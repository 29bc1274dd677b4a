package redlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
)

// extension is a lock that extends itself. While it waits it is a timer and no
// goroutine. It is guarded by the mutex of its lock.
type extension struct {
	timer  *time.Timer
	ctx    context.Context // ends with the lock
	cancel context.CancelFunc
	last   quorum.Instant // of the hold, if that is limited
}

func (e *extension) stop() {
	e.timer.Stop()
	e.cancel()
}

// startExtending begins what [WithAutoExtend] asks for.
func (l *Lock) startExtending() {
	s := l.call.settings
	if !s.autoExtend {
		return
	}
	l.watchExpiry()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	e := &extension{}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if s.maxHold > 0 {
		e.last = l.locker.clock.Now().Add(s.maxHold)
	}
	e.timer = time.AfterFunc(pace(s.ttl), l.extendItself)
	l.extension = e
}

// pace is when a lock with that TTL is extended: after a third of it, less up
// to a tenth of that, so that locks taken together are not extended together.
func pace(ttl time.Duration) time.Duration {
	third := ttl / 3
	return third - rand.N(third/10+1)
}

// extendItself extends the lock once and sets the timer for the next time.
func (l *Lock) extendItself() {
	if l.Err() != nil { // lost while the process was paused, for instance
		return
	}
	l.mu.Lock()
	e := l.extension
	l.mu.Unlock()
	s := &l.locker.settings
	ttl, last := l.call.settings.ttl, false
	if l.call.settings.maxHold > 0 {
		left := e.last.Until(l.locker.clock.Now()).Truncate(time.Millisecond)
		if left <= ttl {
			ttl, last = left, true
		}
	}
	var err error
	if s.checkTTL(ttl) == nil { // there is something left to win
		if err = l.extend(e.ctx, ttl); errors.Is(err, ErrNotHeld) || err != nil && e.ctx.Err() != nil {
			return // it is over, by this or meanwhile
		}
	}
	var next time.Duration
	switch {
	case err != nil:
		// Again soon: several times before the validity ends.
		next = min(ttl/12, 500*time.Millisecond)
		s.logger.Warn("redlock: lock not extended, trying again",
			"key", l.call.fullKey, "until", l.Until(), "error", err)
	case last:
		s.logger.Warn("redlock: lock not extended any more: it will have been held for the longest time allowed",
			"key", l.call.fullKey, "until", l.Until(), "limit", l.call.settings.maxHold)
		return
	default:
		next = pace(ttl)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		e.timer.Reset(max(next, time.Millisecond))
	}
}
