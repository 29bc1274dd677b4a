package redlock

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// extension is what makes a lock extend itself: its place in the extender of its
// Locker, and while it is in a sweep what that is doing to it.
type extension struct {
	lock *Lock
	last quorum.Instant // of the hold, if that is limited

	place int // in the extender's queue; -1: it is not there

	// Of the sweep.
	renewal renewal
	final   bool // the hold ends before another one would be due
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
	l.extension = &extension{lock: l}
	if s.maxHold > 0 {
		l.extension.last = l.locker.clock.Now().Add(s.maxHold)
	}
	l.locker.extender.set(l.extension, extendAfter(s.ttl))
}

// hurry has the lock extended sooner by d, if it extends itself: its validity ends sooner by
// as much.
func (l *Lock) hurry(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil && l.extension != nil {
		l.locker.extender.hurry(l.extension, d)
	}
}

// extendAfter is when a lock with that TTL is extended: after a third of it, less up
// to a tenth of that, so that locks taken together are not extended together.
func extendAfter(ttl time.Duration) time.Duration {
	third := ttl / 3
	return third - rand.N(third/10+1)
}

// slack is how much earlier the lock may be extended, in order to go with others.
func (e *extension) slack() time.Duration { return e.lock.call.settings.ttl / 128 }

// begin returns what the sweep is to ask for, unless there is nothing to extend.
func (e *extension) begin() (n quorum.Renewal, ok bool) {
	l := e.lock
	if l.Err() != nil { // lost while the process was paused, for instance
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
	if s.checkTTL(ttl) != nil { // there is nothing left to win
		e.next(nil)
		return n, false
	}
	var err error
	if e.renewal, err = l.renew(ttl); err != nil {
		return n, false
	}
	return quorum.Renewal{Attempt: l.attempt, TTL: ttl, Timeout: s.timeout(ttl)}, true
}

// end takes what came of it.
func (e *extension) end(r quorum.Result) {
	ctx := e.lock.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	err := e.renewal.end(ctx, r)
	e.renewal = renewal{}
	e.next(err)
}

// next has the lock extended again, after an extension that failed with err or did
// not.
func (e *extension) next(err error) {
	l := e.lock
	l.mu.Lock()
	over := l.cause != nil
	l.mu.Unlock()
	if over { // by this or meanwhile
		return
	}
	s := &l.locker.settings
	var wait time.Duration
	switch {
	case err != nil:
		// Again soon: several times before the validity ends.
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
