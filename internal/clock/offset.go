package clock

import (
	"slices"
	"sync"
	"time"
)

// grain is the coarsest precision with which a node tells its time.
const grain = time.Millisecond

// offsetAge is how long a precise measurement is preferred to a less precise new one.
// Clocks drift.
const offsetAge = 10 * time.Second

// An Offset is how far a node's clock is ahead of this process's wall clock, as far as is
// known. Its methods may be called concurrently.
type Offset struct {
	whole *Offset // of a part: the offset of its node; otherwise nil

	mu     sync.Mutex
	known  bool
	offset time.Duration
	margin time.Duration // maximum error of offset
	at     time.Time     // when offset was measured
}

// Part returns the offset of one part of the node, a Cluster, whose keys are on another
// server with another clock. Until the part has told its time, the latest from any server
// of the node is the best guess, because their clocks are more likely to agree with each
// other than with ours.
func (k *Offset) Part() *Offset { return &Offset{whole: k} }

// Get returns the offset, and whether it is known.
func (k *Offset) Get() (offset time.Duration, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known && k.whole != nil {
		return k.whole.Get()
	}
	return k.offset, k.known
}

// Learn processes the time on the node's clock, read during a call that took so long and
// ended now. wall is this process's clock at its end. The most precise measurement is
// kept, unless it is old, or the new one shows that a clock was set.
func (k *Offset) Learn(node, wall time.Time, took time.Duration, now time.Time) {
	offset := node.Sub(wall.Add(-took / 2))
	margin := (took + grain) / 2
	if k.whole != nil {
		k.whole.Learn(node, wall, took, now)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	moved := (offset - k.offset).Abs() > margin+k.margin+time.Millisecond
	if !k.known || margin <= k.margin || moved || now.Sub(k.at) > offsetAge {
		k.known, k.offset, k.margin, k.at = true, offset, margin, now
	}
}

// Median returns the middle of offsets, or 0 if there are none.
func Median(offsets []time.Duration) time.Duration {
	n := len(offsets)
	if n == 0 {
		return 0
	}
	slices.Sort(offsets)
	low := offsets[(n-1)/2]
	return low + (offsets[n/2]-low)/2
}
