package quorum

import (
	"sync"
	"time"
)

// clockGrain is the coarsest precision with which a node tells its time.
const clockGrain = time.Millisecond

// offsetAge is how long a precise measurement is preferred to a less precise new one.
// Clocks drift.
const offsetAge = 10 * time.Second

// A clockOffset is a clock offset: how far a node's clock is ahead of this process's wall clock,
// as far as is known. Only the speed of votes depends on it.
//
// Each part of a Cluster has its own, because its keys are on another server with another
// clock. Until the part has told its time, the latest from any server of the node is the
// best guess, because their clocks are more likely to agree with each other than with
// ours.
type clockOffset struct {
	whole *clockOffset // of a part: the offset of its node; otherwise nil

	mu     sync.Mutex
	known  bool
	offset time.Duration
	margin time.Duration // maximum error of offset
	at     time.Time     // when offset was measured
}

// get returns the clock offset, and whether it is known.
func (k *clockOffset) get() (offset time.Duration, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known && k.whole != nil {
		return k.whole.get()
	}
	return k.offset, k.known
}

// learn processes the time on the node's clock, read during a call that took so long and
// ended now. wall is this process's clock at its end. The most precise measurement is
// kept, unless it is old, or the new one shows that a clock was set.
func (k *clockOffset) learn(node, wall time.Time, took time.Duration, now time.Time) {
	offset := node.Sub(wall.Add(-took / 2))
	margin := (took + clockGrain) / 2
	if k.whole != nil {
		k.whole.learn(node, wall, took, now)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	moved := (offset - k.offset).Abs() > margin+k.margin+time.Millisecond
	if !k.known || margin <= k.margin || moved || now.Sub(k.at) > offsetAge {
		k.known, k.offset, k.margin, k.at = true, offset, margin, now
	}
}
