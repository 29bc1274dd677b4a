package redlock

import (
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/text"
)

// NotKnown is the value of a number or a time in a [Status] that no node could tell.
const NotKnown = -1

// Status is what [Locker.Inspect] found.
type Status struct {
	Key   string // as it is on the servers, with the prefix
	State State

	// Owner and Fingerprint identify the holder of a held lock: its label ([WithOwner]),
	// if any, and a short hash of its token. For a reserved lock they identify the waiter,
	// as in [Waiter].
	Owner, Fingerprint string

	// TTL is how long a held or reserved lock stays so on a quorum unless it is extended
	// or released. It is [backend.NoExpiry] if that is for ever.
	TTL time.Duration

	// Waiting is the number of waiters in the queues on the nodes, or NotKnown if no node
	// could tell. Waiters are the first of them, next one first, at most a hundred of each
	// node. Dead or closed Lockers may be listed for a while; callers that poll never are.
	Waiting int
	Waiters []Waiter

	// Reading is the number of readers of a shared lock ([Locker.RLock]): the largest number
	// that a node has. It may include some whose share has just ended. Readers are those that
	// are among the first hundred of a node, in the order in which their shares end.
	Reading int
	Readers []Reader

	Nodes []NodeStatus // in the order in which they were given to New
}

// A Reader is a holder of a shared lock: see Owner and Fingerprint of [Status].
type Reader struct{ Owner, Fingerprint string }

// NodeStatus is what [Locker.Inspect] found on one node.
type NodeStatus struct {
	Node               string
	State              State // any but StateSplit
	Owner, Fingerprint string
	TTL                time.Duration
	Waiting            int           // the number of waiters in the queue there, or NotKnown
	Latency            time.Duration // how long it took to answer, or how long Inspect waited for it
	Err                error         // why it is StateUnknown; as NodeReport.Err
}

// newStatus returns what was found out about the lock with that key.
func newStatus(fullKey string, found inspect.Status) Status {
	s := Status{
		Key: fullKey, State: State(found.State), Owner: found.Owner, Fingerprint: found.Fingerprint, TTL: found.TTL,
		Waiting: found.Waiting, Reading: found.Reading,
	}
	for _, w := range found.Waiters {
		s.Waiters = append(s.Waiters, Waiter(w))
	}
	for _, r := range found.Readers {
		s.Readers = append(s.Readers, Reader(r))
	}
	for _, n := range found.Nodes {
		s.Nodes = append(s.Nodes, NodeStatus{
			Node: n.Name, State: State(n.State), Owner: n.Owner, Fingerprint: n.Fingerprint, TTL: n.TTL, Waiting: n.Waiting,
			Latency: n.Latency, Err: newNodeError(n.Err),
		})
	}
	return s
}

// A State says whether a lock is held. Its values are those of inspect.State.
type State uint8

const (
	StateUnknown  State = iota // it depends on nodes that did not answer
	StateFree                  // a quorum of nodes does not have it
	StateHeld                  // one owner has it on a quorum
	StateReserved              // a quorum has reserved it for a waiter that was notified
	StateSplit                 // certainly none of these: several attempts at once, or remains of one
	StateShared                // on a quorum of nodes somebody reads
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
	case StateReserved:
		return "reserved"
	case StateSplit:
		return "split"
	case StateShared:
		return "shared"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// inWords is the number of waiters that Status.String names.
const inWords = 8

// String returns the status on one line: the state, the waiters, and what each node said.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %v", text.Quote(s.Key), s.State)
	b.WriteString(whose(s.State, s.Owner, s.Fingerprint, s.TTL))
	b.WriteString(reading(s.Reading, s.Readers))
	b.WriteString(waiting(s.Waiting))
	named := s.Waiters[:min(len(s.Waiters), inWords)]
	for i, w := range named {
		b.WriteString([]string{": ", ", "}[min(i, 1)])
		b.WriteString(who(w.Owner, w.Fingerprint))
		if w.Waited >= 0 {
			fmt.Fprintf(&b, " for %v", w.Waited.Round(time.Millisecond))
		}
	}
	if more := s.Waiting - len(named); more > 0 && len(named) > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	for i, n := range s.Nodes {
		b.WriteString([]string{" (", "; "}[min(i, 1)])
		fmt.Fprintf(&b, "%s: %v", text.Name(n.Node), n.State)
		if n.Err != nil {
			fmt.Fprintf(&b, ": %s", words(n.Err))
		}
		b.WriteString(whose(n.State, n.Owner, n.Fingerprint, n.TTL))
		b.WriteString(waiting(n.Waiting))
	}
	b.WriteString(")")
	return b.String()
}

// waiting says how many callers wait, if that is known and there are any.
func waiting(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", %d waiting", n)
}

// whose says who holds a lock, or for whom it is reserved, and for how long.
func whose(s State, owner, fingerprint string, ttl time.Duration) string {
	var by string
	switch s {
	case StateShared:
		return " " + lasting(ttl)
	case StateHeld:
		by = "by"
	case StateReserved:
		by = "for"
	default:
		return ""
	}
	return fmt.Sprintf(" %s %s %s", by, who(owner, fingerprint), lasting(ttl))
}

// lasting says for how long something stays as it is.
func lasting(ttl time.Duration) string {
	if ttl == backend.NoExpiry {
		return "for ever"
	}
	return "for " + ttl.Round(time.Millisecond).String()
}

// reading names the readers of a shared lock.
func reading(n int, list []Reader) string {
	if n == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, ", %d reading", n)
	named := list[:min(len(list), inWords)]
	for i, r := range named {
		b.WriteString([]string{": ", ", "}[min(i, 1)])
		b.WriteString(who(r.Owner, r.Fingerprint))
	}
	if more := n - len(named); more > 0 && len(named) > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// who names a holder or a waiter.
func who(owner, fingerprint string) string {
	if owner == "" {
		return "#" + fingerprint
	}
	return fmt.Sprintf("%s #%s", text.Quote(owner), fingerprint)
}
