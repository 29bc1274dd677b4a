package redlock

import (
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/text"
)

// NotKnown stands in a [Status] for a number or a time that the nodes could not tell.
const NotKnown = -1

// Status is what [Locker.Inspect] found.
type Status struct {
	Key   string // as it is on the servers, with the prefix
	State State

	// Owner and Fingerprint tell the holder of a lock that is held: the label
	// that it gave with [WithOwner], if any, and a short hash of its token. Of a
	// lock that is reserved they tell the waiter, as [Waiter] does.
	Owner, Fingerprint string

	// TTL is how long a lock that is held or reserved stays so on a quorum unless
	// it is extended or released; [backend.NoExpiry] if for ever.
	TTL time.Duration

	// Waiting is how many wait in the queues on the nodes, NotKnown if none of them
	// could tell. Waiters are the first of them, a hundred of each node at most,
	// the next one first. Who has died, or closed its Locker, may be among them for a
	// while. Who polls is not.
	Waiting int
	Waiters []Waiter

	Nodes []NodeStatus // in the order in which they were given to New
}

// NodeStatus is what [Locker.Inspect] found on one node.
type NodeStatus struct {
	Node               string
	State              State // any but StateSplit
	Owner, Fingerprint string
	TTL                time.Duration
	Waiting            int   // in the queue there, or NotKnown
	Err                error // why it is StateUnknown; as NodeReport.Err
}

// State is whether a lock is held.
type State uint8

const (
	StateUnknown  State = iota // the nodes that did not answer could decide it
	StateFree                  // a quorum of nodes does not have it
	StateHeld                  // one owner has it on a quorum
	StateReserved              // a quorum has reserved it for a waiter, who has been told
	StateSplit                 // none of these, for sure: several tries at once, or what is left of one
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
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// inWords is how many waiters a Status names on its one line.
const inWords = 8

// String returns the status on one line: the verdict, who waits, and what each
// node said.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %v", text.Quote(s.Key), s.State)
	b.WriteString(whose(s.State, s.Owner, s.Fingerprint, s.TTL))
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

// waiting says how many wait, if that is known and there are any.
func waiting(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", %d waiting", n)
}

// whose says who has a lock, or is to have it, and for how long.
func whose(s State, owner, fingerprint string, ttl time.Duration) string {
	var by string
	switch s {
	case StateHeld:
		by = "by"
	case StateReserved:
		by = "for"
	default:
		return ""
	}
	life := "for ever"
	if ttl != backend.NoExpiry {
		life = "for " + ttl.Round(time.Millisecond).String()
	}
	return fmt.Sprintf(" %s %s %s", by, who(owner, fingerprint), life)
}

// who names a holder or a waiter.
func who(owner, fingerprint string) string {
	if owner == "" {
		return "#" + fingerprint
	}
	return fmt.Sprintf("%s #%s", text.Quote(owner), fingerprint)
}
