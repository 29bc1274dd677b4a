package lease

import (
	"container/heap"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
)

const (
	// sweepSize is the most leases that are extended together.
	sweepSize = 256

	// MostExtending is the most leases that are being extended at a time, in all sweeps.
	// When the nodes are slow, the others wait for their turn. If all were sent at once,
	// none would be answered in time.
	MostExtending = 4096
)

// An extender extends the leases of a Keeper that extend themselves. Leases that are due at
// about the same time form one sweep: they share a goroutine, and calls. While no lease is
// due, an extender is one timer, and not even that if there are no such leases.
type extender struct {
	mu    sync.Mutex
	queue extensions
	timer *time.Timer // for the first in the queue; nil if none was needed so far
	busy  int         // the number of leases that are being extended
}

// set schedules an extension after d. The caller holds the lease's mutex.
func (x *extender) set(e *extension, d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	heap.Push(&x.queue, extensionDue{time.Now().Add(d), e})
	if e.place == 0 {
		x.arm()
	}
}

// remove cancels the next extension. The caller holds the lease's mutex.
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

// hurry schedules the next extension earlier by d. The caller holds the lease's mutex.
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
	if len(x.queue) == 0 || x.busy >= MostExtending {
		return
	}
	wait := max(time.Until(x.queue[0].at), 0)
	if x.timer == nil {
		x.timer = time.AfterFunc(wait, x.sweep)
		return
	}
	x.timer.Reset(wait)
}

// sweep extends the leases that are due.
func (x *extender) sweep() {
	due := x.take()
	begun, renewals := due[:0], make([]attempt.Renewal, 0, len(due))
	for _, e := range due {
		if n, ok := e.begin(); ok {
			begun, renewals = append(begun, e), append(renewals, n)
		}
	}
	if len(begun) > 0 {
		attempt.ExtendAll(renewals, func(i int, r round.Result) { begun[i].end(r) })
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy -= len(due)
	x.arm()
}

// take removes from the queue the leases that are due, or will be so soon that they can be
// extended now, and sets the timer for the rest.
func (x *extender) take() []*extension {
	x.mu.Lock()
	defer x.mu.Unlock()
	var due []*extension
	now := time.Now()
	for len(x.queue) > 0 && len(due) < sweepSize && x.busy < MostExtending {
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

// extensions is a heap of extensions, ordered by when they are due.
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
