package redlock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
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
	State              State // Free, Held or Unknown
	Owner, Fingerprint string
	TTL                time.Duration
	Err                error // why it is Unknown
}

// State is whether a lock is held.
type State uint8

const (
	Unknown State = iota // too few nodes answered
	Free                 // a quorum of nodes does not have it
	Held                 // one owner has it on a quorum
	Split                // neither: several tries at once, or the remains of one
)

// String returns the state in words.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Free:
		return "free"
	case Held:
		return "held"
	case Split:
		return "split"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Inspect looks at who holds the lock on key, without changing anything. It
// asks all nodes at once and returns when all have answered, after the node
// timeout at the latest, or when ctx ends. What it returns may be out of date
// already: it is for people and monitoring, not for decisions.
//
// Nodes that fail, or that cannot be inspected, are Unknown, which is no error.
// The error is that of bad arguments, or of ctx if that has ended.
func (l *Locker) Inspect(ctx context.Context, key string) (Status, error) {
	if err := l.check("inspect", key); err != nil {
		return Status{}, err
	}
	nodeCtx, cancel := context.WithTimeout(ctx, l.settings.nodeTimeout)
	defer cancel()
	fullKey := l.settings.prefix + key
	entries := make([]backend.Entry, l.group.Size())
	nodes := make([]NodeStatus, len(entries))
	var wg sync.WaitGroup
	for i := range entries {
		node, name := l.group.Node(i)
		nodes[i].Node = name
		inspector, ok := backend.As[backend.Inspector](node)
		if !ok {
			nodes[i].Err = fmt.Errorf("the node cannot be inspected: %w", errors.ErrUnsupported)
			continue
		}
		wg.Go(func() { entries[i], nodes[i].Err = inspector.Inspect(nodeCtx, fullKey) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Status{}, fmt.Errorf("redlock: inspect %q: %w", fullKey, err)
	}
	return judge(fullKey, l.group.Need(), entries, nodes), nil
}

// judge completes nodes from entries, and says what a quorum of them says.
func judge(key string, need int, entries []backend.Entry, nodes []NodeStatus) Status {
	s := Status{Key: key, State: Split, Nodes: nodes}
	free, answered := 0, 0
	holders := make(map[string][]time.Duration) // a value and how long each node will have it
	for i, e := range entries {
		n := &nodes[i]
		if n.Err != nil {
			continue
		}
		answered++
		if !e.Found {
			n.State = Free
			free++
			continue
		}
		n.State, n.TTL = Held, e.TTL
		n.Owner, n.Fingerprint = ownerOf(e.Value), fingerprint(e.Value)
		holders[e.Value] = append(holders[e.Value], e.TTL)
	}
	if free >= need {
		s.State = Free
		return s
	}
	for value, ttls := range holders {
		if len(ttls) < need {
			continue
		}
		slices.SortFunc(ttls, func(a, b time.Duration) int { // the longest first
			return -cmp.Compare(uint64(a), uint64(b)) // NoExpiry is the longest of all
		})
		s.State, s.TTL = Held, ttls[need-1]
		s.Owner, s.Fingerprint = ownerOf(value), fingerprint(value)
		return s
	}
	if answered < need {
		s.State = Unknown
	}
	return s
}

// String returns the status on one line: the verdict, and what each node said.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q is %v", s.Key, s.State)
	if s.State == Held {
		b.WriteString(holder(s.Owner, s.Fingerprint, s.TTL))
	}
	for i, n := range s.Nodes {
		b.WriteString([]string{" (", "; "}[min(i, 1)])
		fmt.Fprintf(&b, "%s: %v", n.Node, n.State)
		if n.State == Held {
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
