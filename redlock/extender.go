package redlock

import (
	"container/heap"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
)

const (
	// sweepSize is how many locks are extended together at most.
	sweepSize = 256

	// sweepRoom is how many locks are being extended at a time, in all sweeps. When
	// the nodes take long the others wait for their turn: were they all asked at
	// once, none would be answered in time.
	sweepRoom = 4096
)

// An extender extends the locks of a Locker that extend themselves. Those that are
// due at about the same time are one sweep: they share a goroutine, and calls.
// While none is due it is one timer, and none if there are no such locks.
type extender struct {
	mu    sync.Mutex
	queue extensions
	timer *time.Timer // for the first of the queue; nil: none was needed so far
	busy  int         // locks that are being extended
}

// set has e extended after d. Its lock is locked.
func (x *extender) set(e *extension, d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	heap.Push(&x.queue, extensionDue{time.Now().Add(d), e})
	if e.place == 0 {
		x.arm()
	}
}

// remove has e not extended any more. Its lock is locked.
func (x *extender) remove(e *extension) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.place < 0 { // it is in a sweep, or over
		return
	}
	heap.Remove(&x.queue, e.place)
	if len(x.queue) == 0 {
		x.timer.Stop()
	}
}

// hurry has e extended sooner by d. Its lock is locked.
func (x *extender) hurry(e *extension, d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.place < 0 { // it is in a sweep, or over
		return
	}
	x.queue[e.place].at = x.queue[e.place].at.Add(-d)
	heap.Fix(&x.queue, e.place)
	if e.place == 0 {
		x.arm()
	}
}

// arm sets the timer for the next sweep, if there is room for one.
func (x *extender) arm() {
	if len(x.queue) == 0 || x.busy >= sweepRoom {
		return
	}
	wait := max(time.Until(x.queue[0].at), 0)
	if x.timer == nil {
		x.timer = time.AfterFunc(wait, x.sweep)
		return
	}
	x.timer.Reset(wait)
}

// sweep extends the locks that are due.
func (x *extender) sweep() {
	due := x.take()
	begun, renewals := due[:0], make([]quorum.Renewal, 0, len(due))
	for _, e := range due {
		if n, ok := e.begin(); ok {
			begun, renewals = append(begun, e), append(renewals, n)
		}
	}
	if len(begun) > 0 {
		group := begun[0].lock.locker.group
		group.ExtendAll(renewals, func(i int, r quorum.Result) { begun[i].end(r) })
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy -= len(due)
	x.arm()
}

// take takes from the queue what is due, or will be so soon that it may as well go
// at once, and begins to wait for what comes after that.
func (x *extender) take() []*extension {
	x.mu.Lock()
	defer x.mu.Unlock()
	var due []*extension
	now := time.Now()
	for len(x.queue) > 0 && len(due) < sweepSize && x.busy < sweepRoom {
		first := x.queue[0]
		if first.at.Sub(now) > first.slack() {
			break
		}
		heap.Pop(&x.queue)
		due = append(due, first.extension)
		x.busy++
	}
	x.arm()
	return due
}

// extensions is a heap of what is to be extended, by when.
type extensions []extensionDue

type extensionDue struct {
	at time.Time
	*extension
}

func (q extensions) Len() int           { return len(q) }
func (q extensions) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q extensions) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *extensions) Push(e any) {
	due := e.(extensionDue)
	due.place = len(*q)
	*q = append(*q, due)
}

func (q *extensions) Pop() any {
	last := len(*q) - 1
	due := (*q)[last]
	(*q)[last] = extensionDue{}
	*q = (*q)[:last]
	due.place = -1
	return due
}
