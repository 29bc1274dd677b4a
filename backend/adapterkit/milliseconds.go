package adapterkit

import "time"

// Milliseconds returns d in whole milliseconds, rounded up. Use it for the expiry of a
// key that must live for at least d.
func Milliseconds(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
}
