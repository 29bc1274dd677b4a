// Package stall measures for how long the machine does not let this process run,
// for claims about time to leave that out: on a busy machine it is not the
// claim's to answer for.
package stall

import (
	"sync"
	"time"
)

// usual is by how much a goroutine may be late without anything being wrong.
const usual = 5 * time.Millisecond

// A Watch notes how late a goroutine is that wants to run each millisecond. Its
// methods may be called concurrently.
type Watch struct {
	over, ended chan struct{}
	once        sync.Once

	mu     sync.Mutex
	stalls []span // longer than usual, in order
}

// span is the time from one moment to another.
type span struct{ from, to time.Time }

// Begin begins a watch. [Watch.End] ends it.
func Begin() *Watch {
	w := &Watch{over: make(chan struct{}), ended: make(chan struct{})}
	go w.run(time.Now())
	return w
}

func (w *Watch) run(last time.Time) {
	defer close(w.ended)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-w.over:
			over = true
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > usual {
			w.mu.Lock()
			w.stalls = append(w.stalls, span{last, now})
			w.mu.Unlock()
		}
		last = now
	}
}

// End ends the watch, and returns the longest stall; 0 if there was none beyond
// the usual few milliseconds.
func (w *Watch) End() time.Duration {
	w.once.Do(func() { close(w.over) })
	<-w.ended
	var longest time.Duration
	for _, s := range w.stalls {
		longest = max(longest, s.to.Sub(s.from))
	}
	return longest
}

// Within returns for how long in all the machine stood still between two moments.
func (w *Watch) Within(from, to time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var sum time.Duration
	for _, s := range w.stalls {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		sum += max(0, s.to.Sub(s.from))
	}
	return sum
}
