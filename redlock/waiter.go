package redlock

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// A Waiter is one who stands in the queue for a lock: a [Locker], whose own callers
// stand in line behind each other.
type Waiter struct {
	Owner       string // the label that its Locker was given with WithOwner, if any
	Fingerprint string // a short hash, to tell waiters of the same label apart

	// Waited is for how long the caller has waited that competes for the others, as
	// most nodes where it stands have it; NotKnown if they cannot tell, as when a clock was set back.
	Waited time.Duration
}

// inbox returns a name for a channel on which this Locker is notified.
func (l *Locker) inbox() string {
	return proto.Inbox(l.settings.prefix, newToken(l.settings.call.owner))
}

// waiterOf returns the waiter with a ticket, and whether it is a ticket.
func waiterOf(ticket string) (Waiter, bool) {
	t, ok := proto.ParseTicket(ticket)
	if !ok {
		return Waiter{}, false
	}
	return Waiter{Owner: ownerOf(proto.InboxName(t.Channel)), Fingerprint: fingerprint(ticket), Waited: NotKnown}, true
}
