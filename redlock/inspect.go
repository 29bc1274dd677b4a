package redlock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/quorum"
)

// Status is what [Locker.Inspect] found.
type Status struct {
	Key   string // as it is on the servers, with the prefix
	State State

	// Owner and Fingerprint tell the holder of a lock that is held: the label
	// that it gave with [WithOwner], if any, and a short hash of its token.
	Owner, Fingerprint string

	// TTL is how long a lock that is held stays so on a quorum unless it is
	// extended or released; [backend.NoExpiry] if for ever.
	TTL time.Duration

	Nodes []NodeStatus // in the order in which they were given to New
}

// NodeStatus is what [Locker.Inspect] found on one node.
type NodeStatus struct {
	Node               string
	State              State // StateFree, StateHeld or StateUnknown
	Owner, Fingerprint string
	TTL                time.Duration
	Err                error // why it is StateUnknown
}

// State is whether a lock is held.
type State uint8

const (
	StateUnknown State = iota // the nodes that did not answer could decide it
	StateFree                 // a quorum of nodes does not have it
	StateHeld                 // one owner has it on a quorum
	StateSplit                // neither, for sure: several tries at once, or what is left of one
)

// String returns the state in words.
func (s State) String() string {
	switch s {
	case StateUnknown:
		return "unknown"
	case StateFree:
		return "free"
	case StateHeld:
		return "held"
	case StateSplit:
		return "split"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Inspect looks at who holds the lock on key, without changing anything. It
// asks all nodes at once and returns when all have answered, after the node
// timeout at the latest, or when ctx ends. What it returns may be out of date
// already: it is for people and monitoring, not for decisions.
//
// Nodes that fail, that do not answer in time, or that cannot be inspected, are
// StateUnknown, which is no error. The error is that of bad arguments, or of ctx if
// that has ended.
//
// A node that hangs keeps a goroutine of each Inspect for two seconds at most.
func (l *Locker) Inspect(ctx context.Context, key string) (Status, error) {
	if err := l.check("inspect", key); err != nil {
		return Status{}, err
	}
	if err := l.checkContext(ctx, "inspect", key); err != nil {
		return Status{}, err
	}
	fullKey := l.settings.prefix + key
	nodes := make([]NodeStatus, l.group.Size())
	entries := make([]backend.Entry, len(nodes))
	type answer struct {
		node  int
		entry backend.Entry
		err   error
	}
	answers := make(chan answer, len(nodes))
	pending := 0
	for i := range nodes {
		node, name := l.group.Node(i)
		nodes[i].Node = name
		inspector, ok := backend.As[backend.Inspector](node)
		if !ok {
			nodes[i].Err = fmt.Errorf("the node cannot be inspected: %w", errors.ErrUnsupported)
			continue
		}
		nodes[i].Err = errNoAnswer
		pending++
		go func() {
			// Longer than it is waited for: a connection that is being made serves
			// the next call.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quorum.CallTimeout)
			defer cancel()
			entry, err := inspector.Inspect(ctx, fullKey)
			answers <- answer{i, entry, err}
		}()
	}
	timeout := time.NewTimer(l.settings.nodeTimeout)
	defer timeout.Stop()
	for waiting := true; waiting && pending > 0; {
		select {
		case a := <-answers:
			entries[a.node], nodes[a.node].Err = a.entry, a.err
			pending--
		case <-timeout.C:
			waiting = false
		case <-ctx.Done():
			return Status{}, fmt.Errorf("redlock: inspect %q: %w", fullKey, endOf(ctx, ctx.Err()))
		}
	}
	return judge(fullKey, l.group.Need(), entries, nodes), nil
}

var errNoAnswer = fmt.Errorf("no answer within the node timeout: %w", context.DeadlineExceeded)

// judge completes nodes from entries, and says what a quorum of them says.
func judge(key string, need int, entries []backend.Entry, nodes []NodeStatus) Status {
	s := Status{Key: key, State: StateSplit, Nodes: nodes}
	free, unknown := 0, 0
	holders := make(map[string][]time.Duration) // a value and how long each node will have it
	for i, e := range entries {
		n := &nodes[i]
		if n.Err != nil {
			unknown++
			continue
		}
		if !e.Found {
			n.State = StateFree
			free++
			continue
		}
		n.State, n.TTL = StateHeld, e.TTL
		n.Owner, n.Fingerprint = ownerOf(e.Value), fingerprint(e.Value)
		holders[e.Value] = append(holders[e.Value], e.TTL)
	}
	if free >= need {
		s.State = StateFree
		return s
	}
	most := free
	for value, ttls := range holders {
		most = max(most, len(ttls))
		if len(ttls) < need {
			continue
		}
		slices.SortFunc(ttls, func(a, b time.Duration) int { // the longest first
			return -cmp.Compare(uint64(a), uint64(b)) // NoExpiry is the longest of all
		})
		s.State, s.TTL = StateHeld, ttls[need-1]
		s.Owner, s.Fingerprint = ownerOf(value), fingerprint(value)
		return s
	}
	if most+unknown >= need {
		s.State = StateUnknown
	}
	return s
}

// String returns the status on one line: the verdict, and what each node said.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q is %v", s.Key, s.State)
	if s.State == StateHeld {
		b.WriteString(holder(s.Owner, s.Fingerprint, s.TTL))
	}
	for i, n := range s.Nodes {
		b.WriteString([]string{" (", "; "}[min(i, 1)])
		fmt.Fprintf(&b, "%s: %v", n.Node, n.State)
		if n.State == StateHeld {
			b.WriteString(holder(n.Owner, n.Fingerprint, n.TTL))
		} else if n.Err != nil {
			fmt.Fprintf(&b, ": %v", n.Err)
		}
	}
	b.WriteString(")")
	return b.String()
}

func holder(owner, fingerprint string, ttl time.Duration) string {
	life := "for ever"
	if ttl != backend.NoExpiry {
		life = "for " + ttl.Round(time.Millisecond).String()
	}
	if owner != "" {
		return fmt.Sprintf(" by %q #%s %s", owner, fingerprint, life)
	}
	return fmt.Sprintf(" by #%s %s", fingerprint, life)
}
