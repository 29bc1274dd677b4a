package sender

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A Class says which queue an operation waits in.
type Class uint8

const (
	Extending Class = iota // extensions, and what a half-won acquire still needs
	Acquiring
	Deleting
)

// An Item is an operation on its way to a node. Its owner sets the exported fields
// before it submits the item, and leaves them alone until it is complete.
type Item struct {
	Op      backend.Op
	Key     string // of the lock
	Class   Class
	Expires time.Time     // when it is no longer worth sending
	Wait    time.Duration // how long its caller waits for the node
	Owner   Owner

	// Refused says that the node refuses the item, so that it is repeated rarely.
	Refused bool

	// Of the sender that has it.
	next, prev *Item
	in         *list
	record     *keyDeletions // of a deletion that waits or is under way
	sibling    *Item         // the next deletion of the same key that waits
	since      time.Time
	repeats    uint8 // how often a doubt was sent, up to the longest pause
	doubted    bool  // it waits among the doubts, or was taken from there
}

// An Owner is who has an item sent. Its methods are called on the sender's goroutines.
type Owner interface {
	// Unwanted returns why the item should not be sent any more, or nil. It must not
	// block, and must not call the sender.
	Unwanted() error

	// Leave is called when the item is about to be sent. It may still change Op.
	Leave()

	// Complete hands the item back with its result. Sent says whether it was sent.
	Complete(r backend.Result, sent bool, now time.Time)
}

// A list is items in the order in which they came.
type list struct {
	first, last *Item
	n           int
}

func (l *list) push(it *Item) {
	it.in, it.prev, it.next = l, l.last, nil
	if l.last == nil {
		l.first = it
	} else {
		l.last.next = it
	}
	l.last = it
	l.n++
}

// unpop puts back what was popped last.
func (l *list) unpop(it *Item) {
	it.in, it.prev, it.next = l, nil, l.first
	if l.first == nil {
		l.last = it
	} else {
		l.first.prev = it
	}
	l.first = it
	l.n++
}

func (l *list) pop() *Item {
	it := l.first
	l.remove(it)
	return it
}

func (l *list) remove(it *Item) {
	if it.prev == nil {
		l.first = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		l.last = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.in, it.next, it.prev = nil, nil, nil
	l.n--
}
