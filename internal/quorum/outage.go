package quorum

import (
	"sync"
	"time"
)

// outageGap is for how long nobody may have asked for what was found before to count as the
// same outage: nodes may have been available in between. Callers that wait out an outage ask
// at most every 250 ms (defaultRetry in package redlock, longestOutagePause).
const outageGap = time.Second

// An outage is what this process knows of a time in which too many nodes were unavailable. It
// is shared, so that callers which wait behind others know how long it has lasted.
type outage struct {
	mu    sync.Mutex
	since time.Time     // the end of the first attempt that found them so; zero: there was none
	last  time.Time     // of the last one
	took  time.Duration // the last one
}

// outageOf returns the outage of the nodes that have key, or the parts of them: where one is
// a cluster, it is that of a part.
func (g *Group) outageOf(key string) *outage {
	for _, m := range g.members {
		if len(m.parts) > 1 {
			return &m.of(key).outage
		}
	}
	return &g.members[0].outage
}

// Failed notes that an attempt for key, which began at start, has just found too many nodes
// unavailable.
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

// Outage returns since when the nodes that have key have been found unavailable by all
// attempts of this process, and the zero time if the last one was answered, or if it was so
// long ago that it says nothing of now.
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
