package redlock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// WithReentrancy lets code that runs under a lock lock it again. With a ctx that holds
// the key, [Locker.Lock], [Locker.TryLock] and [Locker.Do] return a nested handle on the
// lock instead of waiting for their own caller. A ctx holds a key if it is, or derives
// from, a context that [Lock.Context] or Do made for a lock on that key, of the same
// Locker or one that shares its nodes ([Locker.With]). The holder is the ctx, not the
// goroutine. Default off: Lock and Do then fail at once, with an error that matches
// [ErrTaken], if they would certainly wait for their own caller.
//
// A nested lock is valid for at least its own TTL: if less remains, it first extends the
// outer lock, with the errors and effects of [Lock.Extend]. The lock is released when all
// of its handles have been unlocked, in any order. If the outer lock has ended, or the
// handle of ctx was unlocked, the error matches [ErrNotHeld], and no node is asked. A
// call with [WithFencing] is rejected before any I/O if the outer lock has no fencing
// token. See docs/options.md.
func WithReentrancy() AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.reentrant = true
		return nil
	})
}

// holds is the key under which a context of a lock has itself.
type holds struct {
	base *base
	key  string // as it is on the servers
}

// heldContext returns the context of a lock on the key that ctx is, or derives from, or
// nil.
func (c *call) heldContext(ctx context.Context) *lockContext {
	if ctx.Value(locked{}) == nil {
		return nil
	}
	held, _ := ctx.Value(holds{c.locker.base, c.fullKey}).(*lockContext)
	return held
}

// held returns the handle on the lock to which ctx belongs, or nil.
func (c *call) held(ctx context.Context) *Lock {
	if held := c.heldContext(ctx); held != nil {
		return held.lock
	}
	return nil
}

// lock returns a handle on the lock that ctx holds, if the call may nest. Otherwise it
// waits for the lock.
func (c *call) lock(ctx context.Context) (*Lock, error) {
	if c.settings.wait == once {
		c.settings.retry = RetryPolicy{tries: 1}
	}
	if c.settings.reentrant {
		if outer := c.held(ctx); outer != nil {
			return c.nest(ctx, outer)
		}
	}
	if c.settings.retry.tries != 1 {
		if err := c.itself(ctx); err != nil {
			return nil, err
		}
	}
	lock, err := c.wait(ctx)
	if err != nil {
		return nil, c.hint(ctx, err)
	}
	return &lock.first, nil
}

// itself returns an error if the call would wait for the lock that ctx holds, and ctx
// ends with that lock.
func (c *call) itself(ctx context.Context) error {
	held := c.heldContext(ctx)
	if held == nil || held.lock.Err() != nil {
		return nil
	}
	if !endsWith(ctx, held) { // the caller may have detached it in order to wait
		c.locker.settings.logger.Warn("redlock: a call waits for a lock that its own ctx holds, perhaps for itself (see WithReentrancy)",
			"key", text.Name(c.fullKey))
		return nil
	}
	e := c.quorumError(ErrTaken)
	e.detail = holdsItself + ": the call would wait for itself"
	return e
}

// holdsItself is part of an error if ctx itself holds the lock.
const holdsItself = "ctx itself holds it (see WithReentrancy)"

// hint returns err, with an explanation if ctx itself holds the lock. It returns a copy,
// because hooks have already seen err.
func (c *call) hint(ctx context.Context, err error) error {
	var e *QuorumError
	if !errors.As(err, &e) || e.class != ErrTaken || e.detail != "" {
		return err
	}
	if l := c.held(ctx); l == nil || l.Err() != nil {
		return err
	}
	told := *e
	told.detail = holdsItself
	return &told
}

// nest returns another handle on the lock of outer.
func (c *call) nest(ctx context.Context, outer *Lock) (*Lock, error) {
	if c.settings.fencing && outer.Fence() == 0 {
		return nil, fmt.Errorf("redlock: %s %s: no fencing token: the lock that ctx holds has none", c.op, text.Quote(c.fullKey))
	}
	lock, err := outer.enter()
	if err != nil {
		e := c.quorumError(ErrNotHeld)
		e.detail = fmt.Sprintf("the lock that ctx held has ended: %v", err)
		return nil, e
	}
	begun := time.Now()
	if !lock.lasts(c.settings) {
		if err := c.lengthen(ctx, lock); err != nil {
			_ = lock.Unlock(ctx) // the others may have unlocked meanwhile
			return nil, err
		}
	}
	if d := c.settings.minHold; d > 0 {
		lock.mu.Lock()
		if least := begun.Add(d); least.After(lock.least) {
			lock.least = least
		}
		lock.mu.Unlock()
	}
	lock.keepExtending(c.settings)
	return lock, nil
}

// lengthen extends lock to the TTL of the nested call. If nodes are unavailable, it waits
// like a call that is not nested, but no longer than the lock is valid, which is less
// than one TTL.
func (c *call) lengthen(ctx context.Context, lock *Lock) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	retry, _ := c.pace()
	for {
		res, err := lock.extend(ctx, c.locker.settings.lease(c.settings))
		c.tries++
		if !errors.Is(err, ErrUnavailable) || res.CtxErr != nil || res.Permanent(c.locker.group.Need()) {
			return err
		}
		pause, again := retry.pause(c.tries)
		if !again {
			return err
		}
		if ctxErr := sleep(ctx, pause, 2*res.Elapsed); ctxErr != nil {
			return fmt.Errorf("%w: %w", err, endOf(ctx, ctxErr))
		}
	}
}

// enter returns another handle, unless this one or the lock has ended.
func (l *Lock) enter() (*Lock, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.unlock.begun:
		return nil, ErrReleased
	case l.cause != nil:
		return nil, l.cause
	}
	l.handles++
	return &Lock{lease: l.lease, call: l.call}, nil
}

// leave ends this handle, and the lock with the last handle. If other handles remain, it
// returns how the lock was lost, if it was. The error is ErrClosed if a Shutdown has
// released the lock.
func (l *Lock) leave(now quorum.Instant) (last bool, err error) {
	_ = l.err(now) // a lock past its validity is lost, not released
	l.mu.Lock()
	l.handles--
	if l.handles == 0 { // for good, because only a handle can make another
		l.mu.Unlock()
		if l.end(ErrReleased) == ErrClosed {
			return true, ErrClosed
		}
		return true, nil
	}
	err, l.left = l.cause, l.cause
	if err == nil {
		l.left = ErrReleased
	}
	contexts := l.endContexts()
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(ErrReleased)
	}
	return false, err
}

// lasts reports whether the lock is valid for at least as long as one with these
// settings, or extends itself. Extending itself is not enough for a minimum hold, because
// it ends with the process.
func (l *Lock) lasts(s callSettings) bool {
	ttl := l.locker.settings.lease(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.until.Until(l.locker.clock.Now())
	return left >= ttl-l.locker.settings.driftOf(ttl) || s.minHold == 0 && l.extends && !l.limited
}

// keepExtending makes the lock extend itself if s has [WithAutoExtend], unless it already
// does.
func (l *Lock) keepExtending(s callSettings) {
	if !s.autoExtend {
		return
	}
	l.mu.Lock()
	begun := l.extends
	if !begun {
		l.extends, l.limited = true, s.maxHold > 0
	}
	l.mu.Unlock()
	if begun {
		return
	}
	settings := l.call.settings
	settings.ttl, settings.autoExtend, settings.maxHold = s.ttl, true, s.maxHold
	core := &Lock{lease: l.lease, call: l.locker.newCall(l.call.op, l.call.key, settings)}
	core.startExtending()
}
