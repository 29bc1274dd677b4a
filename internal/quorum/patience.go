package quorum

import (
	"container/heap"
	"sync"
	"time"
)

// A patience is what it takes to wait for a verdict until some time. It is used again and
// again. It belongs to the goroutine that waits, from begin to end. Before end, that
// goroutine takes news away from its round, under the mutex of the attempt, so that a late
// vote does not reach the next owner.
type patience struct {
	news chan int // has room for one: the place of the round that is decided, or late

	// Guarded by the mutex of the vigil.
	due   time.Time
	place int // in the vigil's queue, or nowhere
}

const (
	late    = -1 // what comes when the time is over
	nowhere = -1
)

// A vigil is all who wait for a verdict of a group, by when their patience ends. One timer
// serves them all, because almost every round is decided before that: to set and stop a
// timer for each would cost about as much as the rest of waiting. A verdict leaves the timer
// set, so it may go off for nobody. Then it is set for the first of those who wait by now,
// if any.
//
// They are a heap, because everybody shares the mutex: with callers of different timeouts,
// an ordered list is walked for each.
type vigil struct {
	mu    sync.Mutex
	queue patiences
	timer *time.Timer // nil: none was needed so far
	set   time.Time   // when it goes off; zero: it is not set
	spare sync.Pool   // of patience
}

// begin returns a patience that ends at due, which is most often later than all others.
func (v *vigil) begin(due time.Time) *patience {
	p, ok := v.spare.Get().(*patience)
	if !ok {
		p = &patience{news: make(chan int, 1)}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p.due = due
	heap.Push(&v.queue, p)
	if v.set.IsZero() || due.Before(v.set) {
		v.wake(due)
	}
	return p
}

// end takes p back, which nobody else may know any more.
func (v *vigil) end(p *patience) {
	v.mu.Lock()
	v.remove(p)
	v.mu.Unlock()
	select {
	case <-p.news:
	default:
	}
	v.spare.Put(p)
}

// remove takes p out, if it is in.
func (v *vigil) remove(p *patience) {
	if p.place != nowhere {
		heap.Remove(&v.queue, p.place)
	}
}

// wake has the timer go off at t.
func (v *vigil) wake(t time.Time) {
	v.set = t
	if v.timer == nil {
		v.timer = time.AfterFunc(time.Until(t), v.look)
	} else {
		v.timer.Reset(time.Until(t))
	}
}

// look tells those whose patience has ended.
func (v *vigil) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for len(v.queue) > 0 && !v.queue[0].due.After(now) {
		p := v.queue[0]
		v.remove(p)
		select {
		case p.news <- late:
		default: // it has heard of a verdict
		}
	}
	v.set = time.Time{}
	if len(v.queue) > 0 {
		v.wake(v.queue[0].due)
	}
}

// patiences is a heap of those who wait, by when their patience ends.
type patiences []*patience

func (q patiences) Len() int           { return len(q) }
func (q patiences) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q patiences) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *patiences) Push(p any) {
	last := p.(*patience)
	last.place = len(*q)
	*q = append(*q, last)
}

func (q *patiences) Pop() any {
	end := len(*q) - 1
	last := (*q)[end]
	(*q)[end] = nil
	*q = (*q)[:end]
	last.place = nowhere
	return last
}
