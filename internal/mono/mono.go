// Package mono has points in time that take 8 bytes. A [time.Time] takes 24, and a lock
// keeps several for each node.
//
// It is for developers of this library.
package mono

import "time"

// base is so early that every Time is positive. Like [time.Now], it has a reading of the
// monotonic clock. Inside a bubble of testing/synctest there is none, and the wall clock
// begins in the year 2000.
var base = time.Now().Add(-100 * 365 * 24 * time.Hour)

// A Time is a point in time of the monotonic clock, comparable with < and >. The zero
// Time is before all others, and means that no time is set.
type Time int64

// Of returns t as a Time.
func Of(t time.Time) Time { return Time(t.Sub(base)) }

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Time returns t as a time.Time.
func (t Time) Time() time.Time { return base.Add(time.Duration(t)) }
