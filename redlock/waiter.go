package redlock

import (
	"strconv"
	"strings"
	"time"
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

// inboxName begins the name of each inbox, after the prefix of its Locker.
const inboxName = "redlock:inbox:"

// inbox returns a name for a channel on which this Locker is called.
func (l *Locker) inbox() string {
	return l.settings.prefix + inboxName + newToken(l.settings.call.owner)
}

// reservation begins what a lock holds that is reserved for a waiter; the waiter's
// ticket follows. No token begins so.
const reservation = "~"

// waiterOf returns the waiter with a ticket, a grace and the name of an inbox (see
// package lua), and whether it is one.
func waiterOf(ticket string) (Waiter, bool) {
	grace, channel, ok := strings.Cut(ticket, ":")
	ms, err := strconv.ParseUint(grace, 10, 32)
	if !ok || err != nil || ms == 0 || len(grace) > 5 || grace[0] == '0' {
		return Waiter{}, false
	}
	_, name, _ := strings.Cut(channel, inboxName)
	return Waiter{Owner: ownerOf(name), Fingerprint: fingerprint(ticket), Waited: NotKnown}, true
}
