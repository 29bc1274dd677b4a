// Package clock tells the time on two clocks, and how far the clocks of servers are ahead
// of it.
package clock

import "time"

// A Clock reads two clocks. The monotonic clock is never set, but on some systems it
// stands still while the machine is suspended. The wall clock can be set, but does not
// stand still.
type Clock struct {
	// Wall is the wall clock; nil means the system's.
	Wall func() time.Time
}

// An Instant is a point in time on both clocks.
type Instant struct {
	at    time.Time     // both readings of the system
	shift time.Duration // how far the wall clock is ahead of the system's
}

// Now returns the current time.
func (c *Clock) Now() Instant { return c.At(time.Now()) }

// At returns the Instant for now, a recent result of [time.Now]. If the wall clock is not
// the system's, it is read at the time of the call.
func (c *Clock) At(now time.Time) Instant {
	if c == nil || c.Wall == nil {
		return Instant{at: now}
	}
	return Instant{now, c.Wall().Round(0).Sub(now.Round(0))}
}

// Add returns the time d later, on both clocks.
func (i Instant) Add(d time.Duration) Instant { return Instant{i.at.Add(d), i.shift} }

// Time returns the time on the monotonic clock, which timers use.
func (i Instant) Time() time.Time { return i.at }

// Wall returns the time on the wall clock.
func (i Instant) Wall() time.Time { return i.at.Round(0).Add(i.shift) }

// Past reports whether i has come according to either clock. The clock that is ahead
// decides, because ending a lease too early costs less than ending it too late.
func (i Instant) Past(now Instant) bool { return !now.at.Before(i.at) || !now.Wall().Before(i.Wall()) }

// Until returns how long it is until i according to the clock that is ahead; 0 or less if
// i has come. Use this to tell which of two leases lasts longer: the one that began
// before the machine was suspended may end later on the monotonic clock and sooner on the
// wall clock.
func (i Instant) Until(now Instant) time.Duration {
	return min(i.at.Sub(now.at), i.Wall().Sub(now.Wall()))
}

// Parted returns how much further the wall clock has moved from i to now than the
// monotonic clock. A clear difference means that the machine was suspended or its clock
// was set forward. Otherwise the result is 0.
func (i Instant) Parted(now Instant) time.Duration {
	if gap := now.Wall().Sub(i.Wall()) - now.at.Sub(i.at); gap > 10*time.Millisecond {
		return gap
	}
	return 0
}
