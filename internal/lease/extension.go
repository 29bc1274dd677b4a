package lease

import (
	"math/rand/v2"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/text"
)

// An extension is the state of a lease that extends itself: its place in the extender of
// its Keeper, and its part in the current sweep.
type extension struct {
	lease   *Lease
	ttl     time.Duration
	maxHold time.Duration // 0: no limit
	last    clock.Instant // the end of the hold, if that is limited

	place int // in the extender's queue; -1 if it is not there

	// Of the sweep.
	renewal Renewal
	final   bool // the hold ends before another extension would be due
}

// StartExtending makes the lease extend itself to ttl until it ends, or has been held for
// maxHold from now. 0 means no limit. It is for a lease whose Terms say so.
func (l *Lease) StartExtending(ttl, maxHold time.Duration) {
	l.watchExpiry()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setExtension(ttl, maxHold, extendAfter(ttl))
}

// KeepExtending is StartExtending, unless the lease already extends itself until it ends.
func (l *Lease) KeepExtending(ttl, maxHold time.Duration) {
	l.mu.Lock()
	begun := l.extends
	if !begun {
		l.extends, l.limited = true, maxHold > 0
	}
	l.mu.Unlock()
	if !begun {
		l.StartExtending(ttl, maxHold)
	}
}

// ExtendsForever reports whether the lease extends itself until it ends, without a limit.
func (l *Lease) ExtendsForever() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.extends && !l.limited
}

// ExtendMeanwhile makes the lease extend itself to ttl until stop is called, unless it
// already extends itself.
func (l *Lease) ExtendMeanwhile(ttl time.Duration) (stop func()) {
	l.watchExpiry()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meanwhile++
	if l.extension == nil {
		left := max(l.until.Until(l.keeper.Clock.Now()), 0)
		l.setExtension(ttl, 0, extendAfter(min(left, ttl)))
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.meanwhile--
		if l.meanwhile == 0 && !l.extends {
			l.noExtension()
		}
	}
}

// setExtension makes the lease extend itself to ttl, for the first time when after has
// passed. It replaces what was set before. The caller holds the mutex.
func (l *Lease) setExtension(ttl, maxHold, after time.Duration) {
	if l.cause != nil {
		return
	}
	l.noExtension()
	l.extension = &extension{lease: l, ttl: ttl, maxHold: maxHold}
	if maxHold > 0 {
		l.extension.last = l.keeper.Clock.Now().Add(maxHold)
	}
	l.keeper.extender.set(l.extension, after)
}

// noExtension ends the extensions. The result of one that is under way still counts. The
// caller holds the mutex.
func (l *Lease) noExtension() {
	if l.extension != nil {
		l.keeper.extender.remove(l.extension)
		l.extension = nil
	}
}

// hurry makes the next automatic extension of the lease come earlier by d, because its
// validity ends earlier by d.
func (l *Lease) hurry(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil && l.extension != nil {
		l.keeper.extender.hurry(l.extension, d)
	}
}

// extendAfter returns when a lease with that TTL is extended: after a third of the TTL,
// less up to a tenth of that, so that locks that were acquired together are not extended
// together.
func extendAfter(ttl time.Duration) time.Duration {
	third := ttl / 3
	return third - rand.N(third/10+1)
}

// slack returns how much earlier the lease may be extended, so that it can join others.
func (e *extension) slack() time.Duration { return e.ttl / 128 }

// begin returns the renewal for the sweep, unless there is nothing to extend.
func (e *extension) begin() (n attempt.Renewal, ok bool) {
	l := e.lease
	if l.Err() != nil { // for example lost while the process was paused
		return n, false
	}
	ttl := l.Keep(e.ttl)
	e.final = false
	if e.maxHold > 0 {
		left := e.last.Until(l.keeper.Clock.Now()).Truncate(time.Millisecond)
		if left <= ttl {
			ttl, e.final = left, true
		}
	}
	if ttl <= l.rules.DriftOf(ttl) { // too little is left for an extension
		e.next(nil)
		return n, false
	}
	if e.renewal, ok = l.owner.Renew(ttl); !ok {
		return n, false
	}
	return attempt.Renewal{Attempt: l.attempt, TTL: ttl, Timeout: l.rules.Timeout(ttl)}, true
}

// end processes the result of the renewal.
func (e *extension) end(r round.Result) {
	err := e.renewal.End(r)
	e.renewal = nil
	e.next(err)
}

// next schedules the next extension. err is the error of the last one.
func (e *extension) next(err error) {
	l := e.lease
	l.mu.Lock()
	over := l.cause != nil || l.extension != e
	until := l.until
	l.mu.Unlock()
	if over { // because of this extension, or for another reason meanwhile
		return
	}
	var wait time.Duration
	switch {
	case err != nil:
		// Soon, so that several attempts fit before the validity ends.
		wait = max(min(e.ttl/12, 500*time.Millisecond), time.Millisecond)
		wait -= rand.N(wait / 4)
		l.rules.Logger.Warn("redlock: lock not extended, trying again",
			"key", text.Name(l.attempt.Key()), "until", until.Time(), "error", err)
	case e.final:
		l.rules.Logger.Warn("redlock: lock not extended any more: it will have been held for the longest time allowed",
			"key", text.Name(l.attempt.Key()), "until", until.Time(), "limit", e.maxHold)
		return
	default:
		wait = extendAfter(e.ttl)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil && l.extension == e {
		l.keeper.extender.set(e, wait)
	}
}
