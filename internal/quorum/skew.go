package quorum

import (
	"sync"
	"time"
)

// clockGrain is how exactly a node tells its time at the least.
const clockGrain = time.Millisecond

// skewAge is for how long a close look at a node's clock is preferred to one from
// further away: clocks drift.
const skewAge = 10 * time.Second

// A skew is what is known of how far a node's clock is ahead of ours, the wall clock.
// Nothing but the speed of votes rests on it.
//
// Each part of a node that is a cluster has one, since its keys are on another server, with
// another clock. Until that has told the time, what any server of the node said is the
// best guess: their clocks are more likely to agree with each other than ours with them.
type skew struct {
	whole *skew // of a part: what its node is thought to be ahead; else nil

	mu     sync.Mutex
	known  bool
	offset time.Duration
	margin time.Duration // by which offset may be wrong
	at     time.Time     // when it was found
}

// get returns by how much the node's clock is ahead, and whether that is known.
func (k *skew) get() (offset time.Duration, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known && k.whole != nil {
		return k.whole.get()
	}
	return k.offset, k.known
}

// learn takes what the node's clock said during a call that ended now, and took so
// long. Wall is our clock at its end. The closest look counts, unless it is old, or the
// new one says that a clock was set.
func (k *skew) learn(node, wall time.Time, took time.Duration, now time.Time) {
	offset := node.Sub(wall.Add(-took / 2))
	margin := (took + clockGrain) / 2
	if k.whole != nil {
		k.whole.learn(node, wall, took, now)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	moved := (offset - k.offset).Abs() > margin+k.margin+time.Millisecond
	if !k.known || margin <= k.margin || moved || now.Sub(k.at) > skewAge {
		k.known, k.offset, k.margin, k.at = true, offset, margin, now
	}
}
