package testnodes

import (
	"sync/atomic"
	"time"
)

// SafeOffset is by how much a clock is off.
type SafeOffset struct{ ns atomic.Int64 }

// Set sets the offset.
func (o *SafeOffset) Set(d time.Duration) { o.ns.Store(int64(d)) }

// Now returns the time of the clock.
func (o *SafeOffset) Now() time.Time { return time.Now().Add(time.Duration(o.ns.Load())) }

// Validity returns until when a lock is valid that was asked for, or extended, then.
func Validity(since time.Time, ttl time.Duration) time.Time {
	return since.Add(ttl - ttl/100 - 2*time.Millisecond)
}
