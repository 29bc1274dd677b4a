package redlock

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Context returns a copy of parent that ends when the lock does: when it is
// unlocked, found lost, or at the end of its validity, before the servers let
// it expire; and when parent ends. [context.Cause] tells which: [ErrReleased],
// an error that matches [ErrNotHeld], or parent's own; [ErrClosed] after a
// [Locker.Shutdown].
//
// Work under the lock uses this context. It ends in time even where the machine
// was suspended meanwhile: within a second of the resumption, and its own Err
// says so at once (that of a context derived from it only then). It has no
// deadline, as an extension may move the end.
//
// It does no I/O and does not block. Any number of contexts may be asked for; each
// is freed when it ends. With [WithReentrancy] who has it may lock the key again.
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
	context.AfterFunc(inner, func() { // parent ended: there is nothing left to end
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.contexts, ctx)
		if len(l.contexts) == 0 {
			delete(l.nested, l)
		}
	})
	return ctx
}

// endContexts returns the contexts of this handle, which are to be ended, and forgets
// them. Each handle has its own set, because every handle on the lock shares the mutex.
// The lease is locked.
func (l *Lock) endContexts() []*lockContext {
	contexts := slices.Collect(maps.Keys(l.contexts))
	l.contexts = nil
	delete(l.nested, l)
	return contexts
}

// endAllContexts is endContexts of all handles.
func (l *lease) endAllContexts() []*lockContext {
	contexts := l.first.endContexts()
	for handle := range l.nested {
		contexts = append(contexts, handle.endContexts()...)
	}
	return contexts
}

// lockContext is a context that ends with its lock. Its Err looks at the clock,
// so that it is right before a timer that is late.
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

// Value has the context itself too, for [WithReentrancy] and to see that a call would wait for
// itself, and the fencing token of the lock.
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

// locked is the key under which a context has true if it belongs to any lock. Unlike holds
// it costs no allocation.
type locked struct{}

// fenced is the key under which a context has the fencing token of its lock.
type fenced struct{}

// FenceFromContext returns the fencing token ([Lock.Fence]) of the lock whose context ctx
// is, or derives from: one that [Lock.Context] made, or that [Locker.Do] gave to its
// function. If there are several such locks it is that of the innermost one with a
// token; 0 if there is none. It says nothing of whether the lock is still held: that is
// for the resource to find out.
func FenceFromContext(ctx context.Context) uint64 {
	fence, _ := ctx.Value(fenced{}).(uint64)
	return fence
}

// watchExpiry makes sure that the lock ends at the end of its validity without
// anybody asking.
func (l *Lock) watchExpiry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil || l.expiry != nil {
		return
	}
	l.expiry = time.AfterFunc(l.until.Until(l.locker.clock.Now()), l.core.expire)
	l.locker.watch.add(&l.core)
}

// expire is what the expiry timer does.
func (l *Lock) expire() {
	if l.Err() != nil {
		return
	}
	// An extension was quicker, or the wall clock was set back.
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.expiry.Reset(max(l.until.Until(l.locker.clock.Now()), time.Millisecond))
	}
}
