package measure

import (
	"math"
	"slices"
)

// Names of metrics. The unit is at the end of the name.
const (
	Time         = "time_us"         // a lock and its release, median
	Allocs       = "allocs"          // of such a pair, in the client
	Bytes        = "bytes"           // of such a pair, in the client
	CPU          = "cpu_us"          // of such a pair, in the client
	ServerCPU    = "server_cpu_us"   // of such a pair, on all servers together
	ClientIdle   = "client_idle"     // share of the cores' time that the client left unused
	ServerIdle   = "server_idle"     // share of a core's time that a server left unused
	Rate         = "pairs_per_s"     // of all goroutines together
	Drain        = "drain_ms"        // until every client has had the lock once
	Commands     = "commands"        // per acquisition and node, or per waiter and node
	FirstDrain   = "first_drain_ms"  // the first time, including the subscriptions
	LongestWait  = "longest_wait_ms" // of any client for one acquisition
	Left         = "left_waiting"    // clients that did not get the lock
	Acquisitions = "acquisitions_per_s"
	Fairness     = "jain"
	FarShare     = "far_share"       // of the client that is farther away; 1 is a fair share
	OneRound     = "one_round_share" // share of the acquisitions whose fencing token took one round trip
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

// A Cell is one thing that one implementation did. Clients are goroutines, clients with their own
// connections, or locks, depending on the work.
type Cell struct {
	Work           string
	Nodes, Clients int
	Implementation string
}

// A Key identifies a number.
type Key struct {
	Cell
	Metric string
}

// Results store one number for each round of a measurement. The zero value is empty. Results must
// not be used concurrently.
type Results struct {
	keys   []Key // in the order in which they were first seen
	rounds map[Key][]float64
}

// Add adds the number of one round.
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

// Keys returns all keys, in the order in which they were first added.
func (r *Results) Keys() []Key { return slices.Clone(r.keys) }

// worst lists the metrics that report the worst round instead of the median, because a failure in
// one of ten rounds is a failure.
var worst = map[string]bool{Errors: true, Left: true, Lost: true, LongestWait: true}

// Value returns the number for all rounds, which is the median for most metrics, and whether
// there is any.
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

// Range returns the least and the greatest number of the rounds, and whether there is any.
func (r *Results) Range(key Key) (least, most float64, ok bool) {
	values := r.rounds[key]
	if len(values) == 0 {
		return 0, 0, false
	}
	return slices.Min(values), slices.Max(values), true
}

// Beyond returns the median over the rounds of a's number minus b's number in the same round. If
// they have different numbers of rounds, it is the difference of their medians. ok is false if one
// of them has no rounds.
func (r *Results) Beyond(a, b Key) (difference float64, ok bool) {
	return r.compare(a, b, func(of, than float64) float64 { return of - than })
}

// Ratio returns the median over the rounds of a's number divided by b's number in the same round,
// so that a slow moment of the machine affects both. If they have different numbers of rounds, it
// is the ratio of their medians. ok is false if one of them has no rounds, or if the result is
// not a number.
func (r *Results) Ratio(a, b Key) (ratio float64, ok bool) {
	return r.compare(a, b, func(of, than float64) float64 { return of / than })
}

// compare returns the median of f over the rounds of a and b.
func (r *Results) compare(a, b Key, f func(of, than float64) float64) (result float64, ok bool) {
	of, than := r.rounds[a], r.rounds[b]
	if len(of) == 0 || len(than) == 0 {
		return 0, false
	}
	if len(of) == len(than) {
		list := make([]float64, len(of))
		for i := range of {
			list[i] = f(of[i], than[i])
		}
		result = Median(list)
	} else {
		result = f(Median(slices.Clone(of)), Median(slices.Clone(than)))
	}
	return result, !math.IsNaN(result)
}
