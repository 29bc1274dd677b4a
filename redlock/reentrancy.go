package redlock

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/lease"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// WithReentrancy lets code that runs under a lock lock it again. With a ctx that holds
// the key, [Locker.Lock], [Locker.TryLock], [Locker.Do], and those that only read, return a
// nested handle on the lock instead of waiting for their own caller. A ctx holds a key if it is, or derives
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
// token, and so is one that does not only read if the outer lock is shared. See
// docs/options.md.
func WithReentrancy() AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.reentrant = true
		s.given |= givenReentrancy
		return nil
	})
}

// holds is the key under which a context of a lock has itself.
type holds struct {
	base *base
	key  string // as it is on the servers
}

// heldContext returns the context of a lock on the key that ctx is, or derives from, or
// nil. A permit is never shared.
func (c *call) heldContext(ctx context.Context) *lockContext {
	if c.slots != nil || ctx.Value(locked{}) == nil {
		return nil
	}
	held, _ := ctx.Value(holds{c.locker.base, c.fullKey}).(*lockContext)
	return held
}

// innermost is the key under which a context of a lock of this base has itself, whatever
// its key.
type innermost struct{ base *base }

// heldBy returns the contexts of all locks of b that ctx is, or derives from, the
// innermost first.
func heldBy(ctx context.Context, b *base) iter.Seq[*lockContext] {
	return func(yield func(*lockContext) bool) {
		for ctx.Value(locked{}) != nil {
			held, _ := ctx.Value(innermost{b}).(*lockContext)
			if held == nil || !yield(held) {
				return
			}
			ctx = held.inner()
		}
	}
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
	held, err := c.wait(ctx)
	if err != nil {
		return nil, c.hint(ctx, err)
	}
	return &held.first, nil
}

// itself returns an error if the call would wait for the lock that ctx holds, and ctx
// ends with that lock.
func (c *call) itself(ctx context.Context) error {
	held := c.heldContext(ctx)
	if held == nil || held.lock.Err() != nil {
		return nil
	}
	if !endsWith(ctx, held) { // the caller may have detached it in order to wait
		c.locker.settings.Logger.Warn("redlock: a call waits for a lock that its own ctx holds, perhaps for itself (see WithReentrancy)",
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
	if err := c.nests(outer); err != nil {
		return nil, err
	}
	lock, err := outer.enter(c.shared)
	if err != nil {
		return nil, c.outerEnded(err)
	}
	nested := false
	defer func() { // after an error, and if a hook panics
		if !nested {
			_ = lock.Unlock(ctx) // the others may have unlocked meanwhile
		}
	}()
	begun := time.Now()
	if !lock.lasts(c.settings) {
		if err := c.lengthen(ctx, lock); err != nil {
			return nil, err
		}
	}
	if d := c.settings.minHold; d > 0 {
		lock.lease.HoldUntil(begun.Add(d))
	}
	lock.keepExtending(c.settings)
	nested = true
	return lock, nil
}

// nests returns an error if the call cannot nest in outer.
func (c *call) nests(outer *Lock) error {
	if !c.shared && outer.Shared() {
		return fmt.Errorf("redlock: %s %s: %w", c.op, text.Quote(c.fullKey), errUpgrade)
	}
	if c.settings.fencing && outer.Fence() == 0 {
		return fmt.Errorf("redlock: %s %s: no fencing token: the lock that ctx holds has none", c.op, text.Quote(c.fullKey))
	}
	return nil
}

// outerEnded returns the error of a call whose ctx held the lock, which has ended because
// of why.
func (c *call) outerEnded(why error) error {
	e := c.quorumError(ErrNotHeld)
	e.detail = fmt.Sprintf("the lock that ctx held has ended: %v", why)
	return e
}

// lengthen extends lock to the TTL of the nested call. If nodes are unavailable, it waits
// like a call that is not nested, but no longer than the lock is valid, which is less
// than one TTL.
func (c *call) lengthen(ctx context.Context, lock *Lock) error {
	limited, cancel := c.limit(ctx)
	defer cancel()
	retry := c.pace()
	var complete error
	for asking := ctx; ; asking = limited { // WithWait does not limit the first extension
		res, err := lock.extend(asking, c.locker.settings.lease(c.settings))
		c.tries++
		if complete != nil && res.CtxErr != nil && errors.Is(err, ErrUnavailable) { // it was cut off, and proves nothing
			return fmt.Errorf("%w: %w", complete, ending.Of(limited, res.CtxErr))
		}
		if !errors.Is(err, ErrUnavailable) || res.CtxErr != nil || res.Permanent(c.locker.group.Need()) {
			return err
		}
		complete = err
		pause, again := retry.pause(c.tries)
		if !again {
			return err
		}
		if ctxErr := quorum.Sleep(limited, pause, 2*res.Elapsed); ctxErr != nil {
			return fmt.Errorf("%w: %w", err, ending.Of(limited, ctxErr))
		}
	}
}

// enter returns another handle, unless this one or the lock has ended. Unless the handle is
// to read, the lock must not be shared.
func (l *Lock) enter(toRead bool) (*Lock, error) {
	other := &Lock{hold: l.hold}
	switch err := l.handle.Enter(&other.handle, toRead); {
	case err == lease.ErrShared:
		return nil, errUpgrade
	case err != nil:
		return nil, err
	}
	return other, nil
}
