package quorum

import (
	"sync"
	"time"
)

// outageGap is the longest pause between attempts for which their failures count as one
// outage. After a longer pause, the nodes may have been available in between. Callers
// that wait out an outage ask at least every 250 ms (defaultRetry in package redlock,
// longestOutagePause).
const outageGap = time.Second

// An outage is a period in which this process found too many nodes unavailable. It is
// shared, so that callers in a local queue know how long it has lasted.
type outage struct {
	mu    sync.Mutex
	since time.Time     // end of the first failed attempt; zero: no outage
	last  time.Time     // end of the last one
	took  time.Duration // duration of the last one
}

// outageOf returns the outage of the nodes that have key. If a node is a Cluster, it is
// that of the part which has key.
func (g *Group) outageOf(key string) *outage {
	for _, m := range g.members {
		if len(m.parts) > 1 {
			return &m.of(key).outage
		}
	}
	return &g.members[0].outage
}

// Failed notes that an attempt for key, which began at start, has just found too many
// nodes unavailable.
func (g *Group) Failed(key string, start time.Time) {
	answered := g.Answered(key)
	o := g.outageOf(key)
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() || answered.After(o.since) || start.Sub(o.last) > outageGap {
		o.since = now
	}
	o.last, o.took = now, now.Sub(start)
}

// Outage returns since when all attempts of this process have found the nodes that have
// key unavailable. It returns the zero time if the last attempt was answered, or is too
// long ago to say anything about now.
func (g *Group) Outage(key string) time.Time {
	o := g.outageOf(key)
	o.mu.Lock()
	since, last, took := o.since, o.last, o.took
	o.mu.Unlock()
	if since.IsZero() || time.Since(last) > outageGap+2*took || g.Answered(key).After(since) {
		return time.Time{}
	}
	return since
}
