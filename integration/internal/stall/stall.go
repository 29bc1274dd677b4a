// Package stall measures for how long the machine does not let this process run. Tests subtract
// this from measured times, because a busy machine is not the library's fault.
package stall

import (
	"sync"
	"time"
)

// usual is the normal delay of a goroutine.
const usual = 5 * time.Millisecond

// A Watch records the delays of a goroutine that wants to run every millisecond. Its methods may
// be called concurrently.
type Watch struct {
	over, ended chan struct{}
	once        sync.Once

	mu     sync.Mutex
	stalls []span // longer than usual, in order
}

// span is the time from one moment to another.
type span struct{ from, to time.Time }

// Begin starts a watch, which [Watch.End] ends.
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

// End ends the watch and returns the longest stall, or 0 if no delay exceeded the normal few
// milliseconds.
func (w *Watch) End() time.Duration {
	w.once.Do(func() { close(w.over) })
	<-w.ended
	var longest time.Duration
	for _, s := range w.stalls {
		longest = max(longest, s.to.Sub(s.from))
	}
	return longest
}

// Within returns for how long in total the machine stood still between two moments.
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
