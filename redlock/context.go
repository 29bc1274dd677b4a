package redlock

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Context returns a copy of parent that ends when the lock ends: when it is unlocked or
// found lost, or at the end of its validity, before the servers let it expire. It also
// ends when parent does. [context.Cause] tells which: [ErrReleased], an error that
// matches [ErrNotHeld], [ErrClosed] after a [Locker.Shutdown], or parent's own cause. Use
// this context for all work under the lock. With [WithReentrancy] a call with it may lock
// the key again.
//
// Context does no I/O and does not block. A lock can have any number of contexts; each is
// freed when it ends. The context has no deadline, because an extension may move the end.
// After a suspend of the machine it ends within a second, and its own Err says so at once
// (that of a context derived from it only then).
func (l *Lock) Context(parent context.Context) context.Context {
	inner, cancel := context.WithCancelCause(parent)
	ctx := &lockContext{Context: inner, lock: l, cancel: cancel}
	l.watchExpiry()
	l.mu.Lock()
	cause := l.left
	if cause == nil {
		cause = l.cause
	}
	if cause == nil && l.interrupted {
		cause = ErrClosed
	}
	if cause == nil {
		if l.contexts == nil {
			l.contexts = make(map[*lockContext]struct{})
		}
		l.contexts[ctx] = struct{}{}
		if l != &l.first {
			if l.nested == nil {
				l.nested = make(map[*Lock]struct{})
			}
			l.nested[l] = struct{}{}
		}
	}
	l.mu.Unlock()
	if cause != nil {
		cancel(cause)
		return ctx
	}
	context.AfterFunc(inner, func() { // parent ended, so the lock need not end this context
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.contexts, ctx)
		if len(l.contexts) == 0 {
			delete(l.nested, l)
		}
	})
	return ctx
}

// endContexts forgets the contexts of this handle, and returns them for the caller to
// end. Each handle has a set of its own, because all handles on the lock share the mutex.
// The caller holds the lease's mutex.
func (l *Lock) endContexts() []*lockContext {
	contexts := slices.Collect(maps.Keys(l.contexts))
	l.contexts = nil
	delete(l.nested, l)
	return contexts
}

// endAllContexts is endContexts for all handles.
func (l *lease) endAllContexts() []*lockContext {
	contexts := l.first.endContexts()
	for handle := range l.nested {
		contexts = append(contexts, handle.endContexts()...)
	}
	return contexts
}

// lockContext is a context that ends with its lock. Its Err checks the clock, so it is
// right even if a timer is late.
type lockContext struct {
	context.Context
	lock   *Lock
	cancel context.CancelCauseFunc
}

func (c *lockContext) Err() error {
	if c.Context.Err() == nil {
		c.lock.Err() // ends this context if the lock has ended
	}
	return c.Context.Err()
}

// Value also finds the context itself, for [WithReentrancy] and to detect a call that
// would wait for itself, and the fencing token of the lock.
func (c *lockContext) Value(key any) any {
	switch key {
	case holds{c.lock.locker.base, c.lock.call.fullKey}:
		return c
	case locked{}:
		return true
	case fenced{}:
		if fence := c.lock.Fence(); fence != 0 {
			return fence
		}
	}
	return c.Context.Value(key)
}

// locked is the key under which every context of a lock has the value true. Unlike holds,
// it costs no allocation.
type locked struct{}

// fenced is the key under which a context has the fencing token of its lock.
type fenced struct{}

// FenceFromContext returns the fencing token ([Lock.Fence]) of the lock to which ctx
// belongs. ctx is, or derives from, a context that [Lock.Context] made or that
// [Locker.Do] passed to its function. If it belongs to several locks, the innermost one
// with a token counts. The result is 0 if there is none.
//
// The result does not mean that the lock is still held. Only the resource can find that
// out.
func FenceFromContext(ctx context.Context) uint64 {
	fence, _ := ctx.Value(fenced{}).(uint64)
	return fence
}

// watchExpiry starts the timer that ends the lock at the end of its validity, even if
// nobody asks.
func (l *Lock) watchExpiry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil || l.expiry != nil {
		return
	}
	l.expiry = time.AfterFunc(l.until.Until(l.locker.clock.Now()), l.core.expire)
	l.locker.watch.add(&l.core)
}

// expire is what the expiry timer calls.
func (l *Lock) expire() {
	if l.Err() != nil {
		return
	}
	// An extension came first, or the wall clock was set back.
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.expiry.Reset(max(l.until.Until(l.locker.clock.Now()), time.Millisecond))
	}
}
