package sender

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
)

// A Class says in which queue an operation waits.
type Class uint8

const (
	Extending Class = iota // extensions, and the second round of an acquire
	Acquiring
	Deleting
)

// An Item is an operation on its way to a node. Its owner sets the exported fields before
// it submits the item, and does not touch them until the item is complete.
type Item struct {
	Op      backend.Op
	Key     string        // of the lock
	Expires mono.Time     // when it is no longer worth sending
	Wait    time.Duration // how long its caller waits for the node
	Owner   Owner
	Class   Class

	// Refused says that the node refuses the item, so it is repeated rarely.
	Refused bool

	// For the sender.
	repeats    uint8 // how often a doubt was sent, up to repeatSteps
	stage      stage // of a deletion
	next, prev *Item
	sibling    *Item  // the next deletion in the same bucket
	at         **Item // what points to this deletion in its bucket
	since      mono.Time
}

// An Owner submits items. The sender calls its methods on its own goroutines, or on that of
// the caller of Make.
type Owner interface {
	// Unwanted returns why the item should no longer be sent, or nil. It must not block
	// or call the sender.
	Unwanted() error

	// Leave is called when the item is about to be sent. It may still change Op.
	Leave()

	// Complete returns the item to its owner with its result. sent says whether it was
	// sent.
	Complete(r backend.Result, sent bool, now time.Time)
}

// A list is a queue of items, the oldest first.
type list struct {
	first, last *Item
	n           int
}

func (l *list) push(it *Item) {
	it.prev, it.next = l.last, nil
	if l.last == nil {
		l.first = it
	} else {
		l.last.next = it
	}
	l.last = it
	l.n++
}

// unpop puts back the item that was popped last.
func (l *list) unpop(it *Item) {
	it.prev, it.next = nil, l.first
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
	it.next, it.prev = nil, nil
	l.n--
}
