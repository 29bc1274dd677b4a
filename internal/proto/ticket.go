package proto

import (
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend/lua"
)

const (
	// MinGrace is the shortest grace that clients ask for.
	MinGrace = 20 * time.Millisecond

	// MaxGrace is the longest grace. Scripts limit a longer one to it.
	MaxGrace = lua.MaxGrace
)

// A Ticket is an entry in the queue of a lock. On a server it is "<grace in ms>:<channel>".
// The number of a reader's ticket is higher by 90000.
type Ticket struct {
	Shared  bool          // the waiter only wants to read
	Grace   time.Duration // how long the lock is reserved for this waiter; rounded up to milliseconds
	Channel string        // inbox of the waiter
}

func (t Ticket) String() string {
	grace := t.Grace + time.Millisecond - 1
	if t.Shared {
		grace += sharedGrace
	}
	return milliseconds(grace) + ":" + t.Channel
}

// sharedGrace is what the tickets of readers add to their graces.
const sharedGrace = 90000 * time.Millisecond

// ParseTicket parses a ticket, and reports whether s is one: a grace of one to five
// digits without a leading zero, a colon and a channel.
func ParseTicket(s string) (Ticket, bool) {
	grace, channel, ok := strings.Cut(s, ":")
	ms, err := strconv.ParseUint(grace, 10, 32)
	if !ok || err != nil || len(grace) > 5 || grace[0] == '0' {
		return Ticket{}, false
	}
	t := Ticket{Grace: time.Duration(ms) * time.Millisecond, Channel: channel}
	if t.Grace >= sharedGrace {
		t.Shared, t.Grace = true, t.Grace-sharedGrace
	}
	return t, true
}

// reservation is the start of the value of a reserved lock. The ticket of the waiter
// follows. No token begins with it.
const reservation = "~"

// Reservation returns the value of a lock that is reserved for the waiter with the
// ticket.
func Reservation(ticket string) string { return reservation + ticket }

// Reserved returns the ticket in the value of a reserved lock, and reports whether the
// lock is reserved.
func Reserved(value string) (ticket string, ok bool) { return strings.CutPrefix(value, reservation) }

// A Message is what a server publishes to an inbox. Receivers ignore messages in other
// forms, because a later release may send them.
type Message struct {
	Kind  MessageKind
	Key   string        // of the lock
	Grace time.Duration // only of [Next]: how long the notified waiter has to take the lock
}

// A MessageKind says what a [Message] is about.
type MessageKind byte

const (
	Notify MessageKind = 'g' // g<key>: the lock is reserved for the receiver
	Next   MessageKind = 'n' // n<grace in ms>:<key>: the lock is reserved for a waiter just before the receiver
)

// ParseMessage parses a message, and reports whether payload is one.
func ParseMessage(payload string) (Message, bool) {
	if payload == "" {
		return Message{}, false
	}
	kind, text := MessageKind(payload[0]), payload[1:]
	switch kind {
	case Notify:
		return Message{Kind: Notify, Key: text}, true
	case Next:
		grace, key, ok := strings.Cut(text, ":")
		ms, err := strconv.ParseUint(grace, 10, 16)
		if !ok || err != nil {
			return Message{}, false
		}
		return Message{Kind: Next, Key: key, Grace: time.Duration(ms) * time.Millisecond}, true
	}
	return Message{}, false
}

func (m Message) String() string {
	if m.Kind == Next {
		return string(Next) + milliseconds(m.Grace) + ":" + m.Key
	}
	return string(m.Kind) + m.Key
}

// milliseconds formats d for a script.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
