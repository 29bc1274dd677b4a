package redlock

import (
	"fmt"
	"time"
)

// Validity returns how long a lock that is acquired with these options is valid if it is
// not extended: its TTL less the drift allowance, or about its minimum hold if that is longer.
// The time is counted from just before the first request of the attempt that succeeds, so
// the caller has a little less.
//
// It does no I/O and never blocks. The error is that of options that Lock rejects.
func (l *Locker) Validity(opts ...LockOption) (time.Duration, error) {
	if l == nil || l.base == nil {
		return 0, errZero
	}
	s, err := l.lockSettings(opts, false)
	if err == nil {
		err = l.settings.check(s)
	}
	if err == nil {
		err = s.checkGiven()
	}
	if err != nil {
		return 0, fmt.Errorf("redlock: validity: %w", err)
	}
	ttl := l.settings.lease(s)
	return ttl - l.settings.DriftOf(ttl), nil
}
