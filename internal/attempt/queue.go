package attempt

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/mono"
)

// Queues is told of attempts that end, because other callers of the process may wait for
// their keys.
type Queues interface {
	// Release says that a is being released.
	Release(a *Attempt)

	// Dismiss says that a, which waited in a queue, no longer uses the notifications for its
	// ticket: its lease has ended, or it has become a reader.
	Dismiss(a *Attempt)
}

// A Queue is the local queue of an attempt that waits: what the process knows about its
// ticket in the queues of the nodes. Of the attempts that use one ticket, only the newest
// may change it. All methods may be called while the attempt is locked, so they must not
// call it.
type Queue interface {
	// Ticket returns the ticket.
	Ticket() string

	// Hears reports whether notifications of node i reach the process.
	Hears(i int) bool

	// Enters notes that an acquire of a with the ticket is about to be sent to node i.
	Enters(i int, a *Attempt)

	// IsNewest reports whether a is the newest attempt that has asked node i.
	IsNewest(i int, a *Attempt) bool

	// Queued reports whether a has to remove the ticket from the queue of node i.
	Queued(i int, a *Attempt) bool

	// SetQueued notes whether the ticket may be in the queue of node i, after an answer
	// to a.
	SetQueued(i int, a *Attempt, queued bool)
}

// Wait makes a an attempt of a caller that waits in queue since asked: where a node refuses
// it and queue hears the node, it adds the ticket to the queue of the node. It must be
// called first.
func (a *Attempt) Wait(queue Queue, asked time.Time, ttl, timeout time.Duration) {
	a.local, a.asked, a.ttl, a.timeout = queue, mono.Of(asked), ttl, timeout
}

// Waits reports whether a waits in a queue, and may be notified.
func (a *Attempt) Waits() bool { return a.local != nil }
