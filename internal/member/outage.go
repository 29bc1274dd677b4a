package member

import (
	"sync"
	"time"
)

// outageGap is the longest pause between attempts for which their failures count as one
// outage. After a longer pause, the nodes may have been available in between. Callers
// that wait out an outage ask at least every 250 ms (defaultRetry in package redlock,
// longestOutagePause in package limit).
const outageGap = time.Second

// An Outage is a period in which this process found too many nodes unavailable. It is
// shared, so that callers in a local queue know how long it has lasted.
type Outage struct {
	mu    sync.Mutex
	since time.Time     // end of the first failed attempt; zero: no outage
	last  time.Time     // end of the last one
	took  time.Duration // duration of the last one
}

// Note notes that an attempt, which began at start, has just found too many nodes
// unavailable. answered is when a quorum last answered.
func (o *Outage) Note(start, answered time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() || answered.After(o.since) || start.Sub(o.last) > outageGap {
		o.since = now
	}
	o.last, o.took = now, now.Sub(start)
}

// Since returns since when all attempts of this process have found too many nodes
// unavailable. It returns the zero time if there were none, if the last attempt is too
// long ago to say anything about now, or if answered, which returns when a quorum last
// answered, is later.
func (o *Outage) Since(answered func() time.Time) time.Time {
	o.mu.Lock()
	since, last, took := o.since, o.last, o.took
	o.mu.Unlock()
	if since.IsZero() || time.Since(last) > outageGap+2*took || answered().After(since) {
		return time.Time{}
	}
	return since
}
