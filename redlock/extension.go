package redlock

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// An extension is the state of a lock that extends itself: its place in the extender of
// its Locker, and its part in the current sweep.
type extension struct {
	lock *Lock
	last quorum.Instant // the end of the hold, if that is limited

	place int // in the extender's queue; -1 if it is not there

	// Of the sweep.
	renewal renewal
	final   bool // the hold ends before another extension would be due
}

// startExtending starts the extensions of [WithAutoExtend].
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
	l.extension = &extension{lock: l}
	if s.maxHold > 0 {
		l.extension.last = l.locker.clock.Now().Add(s.maxHold)
	}
	l.locker.extender.set(l.extension, extendAfter(s.ttl))
}

// hurry makes the next automatic extension of the lock come earlier by d, because its
// validity ends earlier by d.
func (l *Lock) hurry(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil && l.extension != nil {
		l.locker.extender.hurry(l.extension, d)
	}
}

// extendAfter returns when a lock with that TTL is extended: after a third of the TTL,
// less up to a tenth of that, so that locks that were acquired together are not extended
// together.
func extendAfter(ttl time.Duration) time.Duration {
	third := ttl / 3
	return third - rand.N(third/10+1)
}

// slack returns how much earlier the lock may be extended, so that it can join others.
func (e *extension) slack() time.Duration { return e.lock.call.settings.ttl / 128 }

// begin returns the renewal for the sweep, unless there is nothing to extend.
func (e *extension) begin() (n quorum.Renewal, ok bool) {
	l := e.lock
	if l.Err() != nil { // for example lost while the process was paused
		return n, false
	}
	s := &l.locker.settings
	ttl := l.keep(l.call.settings.ttl)
	e.final = false
	if l.call.settings.maxHold > 0 {
		left := e.last.Until(l.locker.clock.Now()).Truncate(time.Millisecond)
		if left <= ttl {
			ttl, e.final = left, true
		}
	}
	if s.checkTTL(ttl) != nil { // too little is left for an extension
		e.next(nil)
		return n, false
	}
	var err error
	if e.renewal, err = l.renew(ttl); err != nil {
		return n, false
	}
	return quorum.Renewal{Attempt: l.attempt, TTL: ttl, Timeout: s.timeout(ttl)}, true
}

// end processes the result of the renewal.
func (e *extension) end(r quorum.Result) {
	ctx := e.lock.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	err := e.renewal.end(ctx, r)
	e.renewal = renewal{}
	e.next(err)
}

// next schedules the next extension. err is the error of the last one.
func (e *extension) next(err error) {
	l := e.lock
	l.mu.Lock()
	over := l.cause != nil
	l.mu.Unlock()
	if over { // because of this extension, or for another reason meanwhile
		return
	}
	s := &l.locker.settings
	var wait time.Duration
	switch {
	case err != nil:
		// Soon, so that several attempts fit before the validity ends.
		wait = max(min(l.call.settings.ttl/12, 500*time.Millisecond), time.Millisecond)
		wait -= rand.N(wait / 4)
		s.logger.Warn("redlock: lock not extended, trying again",
			"key", text.Name(l.call.fullKey), "until", l.Until(), "error", err)
	case e.final:
		s.logger.Warn("redlock: lock not extended any more: it will have been held for the longest time allowed",
			"key", text.Name(l.call.fullKey), "until", l.Until(), "limit", l.call.settings.maxHold)
		return
	default:
		wait = extendAfter(l.call.settings.ttl)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.locker.extender.set(e, wait)
	}
}
