package redlock

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// A Waiter is a [Locker] in the queue for a lock. Several callers of it may wait behind
// each other.
type Waiter struct {
	Owner       string // the label that its Locker was given with WithOwner, if any
	Fingerprint string // a short hash, to tell waiters of the same label apart

	// Waited is how long the Locker's first caller has waited: the median of the nodes
	// that have it in their queues. It is NotKnown if they cannot tell, for example
	// because a clock was set back.
	Waited time.Duration
}

// inbox returns a new name for the channel on which this Locker is notified.
func (l *Locker) inbox() string {
	return proto.Inbox(l.settings.prefix, proto.NewToken(l.settings.call.owner))
}
