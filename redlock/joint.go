package redlock

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/joint"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A jointCall is a call that locks several keys, with one call for each of them. Package
// joint decides what it does next.
type jointCall struct {
	keys []jointKey // sorted
	once bool       // it makes a single attempt
}

// A jointKey is a key of a jointCall: a [joint.Key], and while the call holds it a
// [joint.Lock]. The hooks see it as a call of its own.
type jointKey struct {
	call  *call
	lock  *Lock  // that the call holds, or has given back
	outer *Lock  // the lock of ctx, which the call enters; nil: ctx does not hold the key
	begun bool   // the hook Begin was called, and Locked not since then
	told  bool   // the hook Locked was called for lock
	stop  func() // ends the extensions during waits; nil: there are none
}

// lock acquires all keys, or none.
func (j *jointCall) lock(ctx context.Context) (locks *Locks, err error) {
	if len(j.keys) == 1 {
		c := j.keys[0].call
		lock, err := c.done(c.lock(ctx))
		if err != nil {
			return nil, err
		}
		return &Locks{[]*Lock{lock}}, nil
	}
	c := j.engine()
	all := false
	defer func() { // after an error, and if a hook panics
		if !all {
			c.GiveBack(ctx)
			if err != nil {
				j.end(err)
			}
		}
	}()
	for i := range j.keys {
		if k := &j.keys[i]; k.outer == nil {
			k.begin(ctx)
		}
	}
	if err := j.enter(c); err != nil {
		return nil, err
	}
	limited, cancel := j.keys[0].call.limit(ctx)
	defer cancel()
	if err := c.Acquire(ctx, limited); err != nil {
		return nil, j.explain(ctx, err)
	}
	all = true
	return j.finish(c), nil
}

// engine returns what decides how the keys are acquired.
func (j *jointCall) engine() *joint.Call {
	l := j.keys[0].call.locker
	c := &joint.Call{Group: l.group, Clock: &l.clock, Once: j.once, Keys: make([]joint.Key, len(j.keys)), Locks: make([]joint.Lock, len(j.keys))}
	for i := range j.keys {
		c.Keys[i] = &j.keys[i]
	}
	return c
}

// enter enters the locks that ctx holds. It asks no node.
func (j *jointCall) enter(c *joint.Call) (err error) {
	for i := range j.keys {
		k := &j.keys[i]
		if k.outer == nil {
			continue
		}
		if k.lock, err = k.outer.enter(false); err != nil {
			return k.call.outerEnded(err)
		}
		c.Locks[i] = k
	}
	return nil
}

// finish returns the handle on the keys, all of which are held. A minimum hold counts from
// when they were.
func (j *jointCall) finish(c *joint.Call) *Locks {
	locks := make([]*Lock, len(j.keys))
	for i := range j.keys {
		k := &j.keys[i]
		locks[i] = k.lock
		s := k.call.settings
		if s.minHold > 0 && (c.Waited || k.outer != nil) {
			k.lock.lease.HoldUntil(c.Since.Add(s.minHold))
		}
		if k.outer != nil {
			k.lock.keepExtending(s)
		} else {
			k.lock.startExtending(s)
		}
		k.rest()
	}
	j.free()
	return &Locks{locks}
}

// end calls the hook Locked for the keys for which it was not called, because the call has
// failed with err.
func (j *jointCall) end(err error) {
	for i := range j.keys {
		if k := &j.keys[i]; k.begun {
			k.begun = false
			k.call.tell(k.call.locker.settings.hooks.Locked, err)
		}
	}
	j.free()
}

// free takes back the calls, to be used again.
func (j *jointCall) free() {
	for _, k := range j.keys {
		k.call.free()
	}
}

// begin calls the hook Begin.
func (k *jointKey) begin(ctx context.Context) {
	k.begun, k.call.waited = true, false
	k.call.begin(ctx)
}

// Request returns what to ask for in an attempt that begins at start.
func (k *jointKey) Request(start clock.Instant) quorum.Request {
	r := k.call.request()
	r.Start = start
	return r
}

// Keep makes the key one that the call holds.
func (k *jointKey) Keep(ctx context.Context, won quorum.Held) (joint.Lock, error) {
	h := newHold(ctx, k.call, won)
	if h == nil {
		won.Abandon()
		return nil, ErrClosed
	}
	k.lock = &h.first
	return k, nil
}

// Lost returns the error of a call that cannot acquire the key again: after a Shutdown, if
// its caller believes to hold the key already, or if it makes a single attempt.
func (k *jointKey) Lost(ctx context.Context, why error, losses int) (time.Duration, error) {
	c := k.call
	switch {
	case why == ErrClosed:
		return 0, ErrClosed
	case k.outer != nil:
		return 0, c.outerEnded(why)
	case c.settings.retry.tries == 1:
		return 0, c.failed(ctx, round.Result{Verdict: round.Late})
	}
	c.locker.settings.Logger.Warn("redlock: a key was lost while the call waited for another one, and is acquired again",
		"key", text.Name(c.fullKey), "error", why)
	return max(0, c.pace().delay(losses)), nil
}

// Err returns why the lock has ended, if it has.
func (k *jointKey) Err() error { return k.lock.Err() }

// Context returns a copy of parent that ends with the lock.
func (k *jointKey) Context(parent context.Context) context.Context { return k.lock.Context(parent) }

// Tell calls the hook Locked, unless it was called for this lock.
func (k *jointKey) Tell() {
	if k.outer == nil && !k.told {
		k.told, k.begun = true, false
		k.call.tell(k.call.locker.settings.hooks.Locked, nil)
	}
}

// Preserve makes the lock extend itself until it is given back or the call is over.
func (k *jointKey) Preserve() {
	if k.stop == nil {
		k.stop = k.lock.lease.ExtendMeanwhile(k.call.settings.ttl)
	}
}

// rest ends the extensions of Preserve.
func (k *jointKey) rest() {
	if k.stop != nil {
		k.stop()
		k.stop = nil
	}
}

// Stale reports whether the lock has to be extended before the call returns. A lock that
// was acquired in this call is stale if a tenth of its TTL has passed. A minimum hold counts
// from when all keys are held.
func (k *jointKey) Stale(waited bool) bool {
	c := k.call
	if k.outer != nil {
		return !k.lock.lasts(c.settings)
	}
	if !waited {
		return false
	}
	s := &c.locker.settings
	ttl := s.lease(c.settings)
	return c.settings.minHold > 0 || time.Until(k.lock.Until()) < ttl-s.DriftOf(ttl)-ttl/10
}

// Extend extends the lock to the TTL of the call.
func (k *jointKey) Extend(ctx context.Context) error { return k.call.lengthen(ctx, k.lock) }

// GiveBack gives the lock back. The call has no more use for it, so its minimum hold does
// not count. The hooks know only of a lock for which Locked was called.
func (k *jointKey) GiveBack(ctx context.Context, again bool) (tell func(), ok bool) {
	lock, c := k.lock, k.call
	k.rest()
	switch {
	case k.outer != nil && again:
		return nil, false
	case k.outer != nil:
		return func() { _ = lock.Unlock(ctx) }, true // the others may have unlocked meanwhile
	}
	lost := lock.lease.Lapse(c.locker.clock.Now()) // a lock past its validity is lost, not released
	released := lock.lease.EndFirst(ErrReleased)
	lock.lease.Attempt().Abandon()
	told := k.told
	k.told = false
	return func() {
		if lost != nil {
			lost()
		}
		if !told {
			return
		}
		if released {
			lock.tellReleased(ctx, c.locker.newCall("unlock", c.key, lock.callSettings()))
		}
		if again {
			k.begin(ctx)
		}
	}, true
}
