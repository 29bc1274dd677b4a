package notify

import (
	"sync"
	"time"
)

const (
	// A node whose notifications were false fewRumours times is doubted: its next ones
	// are rumours. Each grant after a notification subtracts one. The count stops at
	// mostRumours.
	fewRumours  = 3
	mostRumours = 16

	// Notifications that nobody here waits for are passed on at an average rate of
	// passRate a second for each node, and in bursts of up to passBurst.
	passRate  = 1000
	passBurst = 100
)

// Rumours is how far the notifications of a node can be believed. A node that notifies
// has reserved the lock for this process, so it grants the lock. If it does not, somebody
// else has published the message, or the message was very late. Anyone who may PUBLISH to
// the inbox can send one.
//
// While many are false, a waiter asks the node that has notified before it asks the
// others. A false notification then costs one operation on one node. It does not take the
// votes of other nodes from waiters that were really notified.
type Rumours struct {
	mu    sync.Mutex
	count int

	passes float64 // how many may be passed on now
	filled time.Time
}

// Granted notes whether the node granted the lock after it had notified.
func (r *Rumours) Granted(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok {
		r.count = max(r.count-1, 0)
	} else {
		r.count = min(r.count+1, mostRumours)
	}
}

// Doubted reports whether the node's notifications must be checked.
func (r *Rumours) Doubted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count >= fewRumours
}

// Pass reports whether a notification that nobody waits for may be passed on now.
func (r *Rumours) Pass(now time.Time) bool {
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
