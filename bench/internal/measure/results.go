package measure

import (
	"math"
	"slices"
)

// Names of what is measured. The unit is the end of the name.
const (
	Time         = "time_us"         // a lock and its release, median
	Allocs       = "allocs"          // of such a pair, in the client
	Bytes        = "bytes"           // of such a pair, in the client
	CPU          = "cpu_us"          // of such a pair, in the client
	Rate         = "pairs_per_s"     // of all goroutines together
	Drain        = "drain_ms"        // until every client has had the lock once
	Commands     = "commands"        // per acquisition and node, or per waiter and node
	FirstDrain   = "first_drain_ms"  // the first time, when subscriptions are made too
	LongestWait  = "longest_wait_ms" // of any client for one acquisition
	Left         = "left_waiting"    // clients who did not get the lock
	Acquisitions = "acquisitions_per_s"
	Fairness     = "jain"
	FarShare     = "far_share"       // of the one that is further away, 1 being its due
	OneRound     = "one_round_share" // of the acquisitions, those whose fencing token took one round trip
	LockMiddle   = "lock_p50_us"
	LockTail     = "lock_p99_us"
	UnlockMiddle = "unlock_p50_us"
	UnlockTail   = "unlock_p99_us"
	Pairs        = "pairs"
	Errors       = "errors"
	Acquire      = "acquire_s" // all locks
	Goroutines   = "goroutines"
	Heap         = "heap_mb"
	CPUShare     = "cpu_cores"        // of one core, in the client
	Extensions   = "extensions_per_s" // of all locks together, by each node
	Lost         = "locks_lost"
)

// A Cell is one thing that one implementation did. Clients are the goroutines, the
// clients with connections of their own, or the locks, as the work has it.
type Cell struct {
	Work           string
	Nodes, Clients int
	Implementation string
}

// A Key says what a number is.
type Key struct {
	Cell
	Metric string
}

// Results keep a number for each round in which something was measured. The zero
// value is empty. It is not for concurrent use.
type Results struct {
	keys   []Key // in the order in which they were first seen
	rounds map[Key][]float64
}

// Add notes what one round gave.
func (r *Results) Add(cell Cell, metric string, value float64) {
	key := Key{cell, metric}
	if r.rounds == nil {
		r.rounds = map[Key][]float64{}
	}
	if _, seen := r.rounds[key]; !seen {
		r.keys = append(r.keys, key)
	}
	r.rounds[key] = append(r.rounds[key], value)
}

// Keys returns what there is, in the order in which it was first added.
func (r *Results) Keys() []Key { return slices.Clone(r.keys) }

// worst are what is told of the worst round rather than the middle one: a failure in
// one of ten is one.
var worst = map[string]bool{Errors: true, Left: true, Lost: true, LongestWait: true}

// Value returns what is to be told of all rounds, the median for most metrics, and
// whether there is any.
func (r *Results) Value(key Key) (float64, bool) {
	values := slices.Clone(r.rounds[key])
	switch {
	case len(values) == 0:
		return 0, false
	case worst[key.Metric]:
		return slices.Max(values), true
	}
	return Median(values), true
}

// Range returns the least and the greatest of the rounds, and whether there is any.
func (r *Results) Range(key Key) (least, most float64, ok bool) {
	values := r.rounds[key]
	if len(values) == 0 {
		return 0, 0, false
	}
	return slices.Min(values), slices.Max(values), true
}

// Ratio returns the median over the rounds of what a gave divided by what b gave
// in the same round, so that a slow moment of the machine is in both. If they have
// not the same number of rounds, it is the ratio of their medians. ok is false if
// either has none, or if what is left is no number.
func (r *Results) Ratio(a, b Key) (ratio float64, ok bool) {
	of, than := r.rounds[a], r.rounds[b]
	if len(of) == 0 || len(than) == 0 {
		return 0, false
	}
	if len(of) == len(than) {
		ratios := make([]float64, len(of))
		for i := range of {
			ratios[i] = of[i] / than[i]
		}
		ratio = Median(ratios)
	} else {
		ratio = Median(slices.Clone(of)) / Median(slices.Clone(than))
	}
	return ratio, !math.IsNaN(ratio)
}
