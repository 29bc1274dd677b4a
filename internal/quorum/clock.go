package quorum

import "time"

// A Clock tells the time twice: by the monotonic clock, which is never set but
// on some systems stands still while the machine is suspended, and by the wall
// clock, which is set but does not stand still.
type Clock struct {
	// Wall is the wall clock; nil means the system's.
	Wall func() time.Time
}

// An Instant is a moment on both clocks.
type Instant struct {
	at    time.Time     // both readings, as the system has them
	shift time.Duration // by how much the wall clock is ahead of the system's
}

// Now returns the present moment.
func (c *Clock) Now() Instant { return c.at(time.Now()) }

// at returns the moment at which [time.Now] has said that it was now. It is the present
// one, by a wall clock that is not the system's.
func (c *Clock) at(now time.Time) Instant {
	if c == nil || c.Wall == nil {
		return Instant{at: now}
	}
	return Instant{now, c.Wall().Round(0).Sub(now.Round(0))}
}

// Add returns the moment d later, on both clocks.
func (i Instant) Add(d time.Duration) Instant { return Instant{i.at.Add(d), i.shift} }

// Time returns the moment as the monotonic clock has it, which is what timers
// go by.
func (i Instant) Time() time.Time { return i.at }

// Wall returns the moment as the wall clock has it.
func (i Instant) Wall() time.Time { return i.at.Round(0).Add(i.shift) }

// Past reports whether the moment has come by either clock: the clock that is
// ahead decides, for a lease that is thought over too early costs less than one
// that is thought over too late.
func (i Instant) Past(now Instant) bool { return !now.at.Before(i.at) || !now.Wall().Before(i.Wall()) }

// Until returns how long it is until the moment comes by the clock that is
// ahead; not above 0 if it has come. Of two leases it is by this that one tells which
// lasts longer: one that began before the machine was suspended may end later by the
// monotonic clock and sooner by the other.
func (i Instant) Until(now Instant) time.Duration {
	return min(i.at.Sub(now.at), i.Wall().Sub(now.Wall()))
}

// Parted returns by how much more the wall clock went on from i to now than the
// monotonic clock, if that is clearly more: the machine was suspended, or its clock was
// set forward. Else it is 0.
func (i Instant) Parted(now Instant) time.Duration {
	if gap := now.Wall().Sub(i.Wall()) - now.at.Sub(i.at); gap > 10*time.Millisecond {
		return gap
	}
	return 0
}
