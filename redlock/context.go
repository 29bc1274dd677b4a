package redlock

import (
	"context"

	"github.com/quorumlock/quorumlock/internal/lease"
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
	ctx := &lockContext{lock: l}
	l.handle.Bind(&ctx.Context, parent)
	return ctx
}

// lockContext is a context that ends with its lock.
type lockContext struct {
	lease.Context
	lock *Lock
}

// inner returns the context from which c derives.
func (c *lockContext) inner() context.Context { return c.Context.Context }

// Value also finds the context itself, for [WithReentrancy] and to detect a call that
// would wait for itself, and the fencing token of the lock.
func (c *lockContext) Value(key any) any {
	switch key {
	case holds{c.lock.locker.base, c.lock.fullKey()}, innermost{c.lock.locker.base}:
		return c
	case locked{}:
		return true
	case fenced{}:
		if fence := c.lock.Fence(); fence != 0 {
			return fence
		}
	}
	return c.inner().Value(key)
}

// locked is the key under which every context of a lock has the value true. Unlike holds,
// it costs no allocation.
type locked struct{}

// fenced is the key under which a context has the fencing token of its lock.
type fenced struct{}

// FenceFromContext returns the fencing token ([Lock.Fence]) of the lock to which ctx
// belongs. ctx is, or derives from, a context that [Lock.Context] made or that
// [Locker.Do] passed to its function. If it belongs to several locks, the innermost one
// with a token counts. The result is 0 if there is none, and for a context of several
// keys ([Locks.Context]).
//
// The result does not mean that the lock is still held. Only the resource can find that
// out.
func FenceFromContext(ctx context.Context) uint64 {
	fence, _ := ctx.Value(fenced{}).(uint64)
	return fence
}
