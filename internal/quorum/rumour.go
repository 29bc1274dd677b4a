package quorum

import (
	"sync"
	"time"
)

const (
	// So many notifications of a node after which it did not grant make its next ones
	// rumours. Each that it does grant makes up for one.
	fewRumours  = 3
	mostRumours = 16

	// A waiter verifies rumours at intervals of rumourPause, if it may be the next in the
	// queue, else of laterPause. Both are shorter than a grace, so that a notification
	// that is true still finds its reservation.
	rumourPause = time.Millisecond
	laterPause  = minGrace / 4

	// A node's notifications that nobody here waits for are passed on at most so often:
	// passRate a second on average, and passBurst at once.
	passRate  = 1000
	passBurst = 100
)

// rumours is what is known of how far the notifications of a node can be believed. A
// node that notifies has reserved the lock for us, so it grants; if it does not, somebody
// else has published the message, or the message was very late. Anybody who may PUBLISH to
// the inbox can do so.
//
// While there are many of these, a waiter asks the node that has notified before it asks
// the others: a false notification then costs one operation on one node, and does not
// take the votes of other nodes from those who have been notified truly.
type rumours struct {
	mu    sync.Mutex
	count int

	passes float64 // that may be passed on now
	filled time.Time
}

// granted notes whether the node granted after it had notified.
func (r *rumours) granted(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok {
		r.count = max(r.count-1, 0)
	} else {
		r.count = min(r.count+1, mostRumours)
	}
}

// doubted reports whether the node's notifications are to be verified.
func (r *rumours) doubted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count >= fewRumours
}

// pass reports whether a notification that nobody waits for may be passed on now.
func (r *rumours) pass(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filled.IsZero() {
		r.passes = passBurst
	} else {
		r.passes = min(r.passes+now.Sub(r.filled).Seconds()*passRate, passBurst)
	}
	r.filled = now
	if r.passes < 1 {
		return false
	}
	r.passes--
	return true
}
