package lease

import (
	"context"
	"maps"
	"slices"
)

// A Context ends with its handle. Its Err checks the clock, so it is right even if a timer
// is late.
type Context struct {
	context.Context
	handle *Handle
	cancel context.CancelCauseFunc
}

// Bind makes ctx, which is empty, a copy of parent that ends when the handle, its lease or
// parent does. Its cause is that of the first. It has ended already if one of them has.
func (h *Handle) Bind(ctx *Context, parent context.Context) {
	l := h.lease
	ctx.handle = h
	ctx.Context, ctx.cancel = context.WithCancelCause(parent)
	l.watchExpiry()
	l.mu.Lock()
	cause := h.left
	if cause == nil {
		cause = l.cause
	}
	if cause == nil && l.interrupted {
		cause = l.keeper.Closed
	}
	if cause == nil {
		if h.contexts == nil {
			h.contexts = make(map[*Context]struct{})
		}
		h.contexts[ctx] = struct{}{}
		if h != l.first {
			if l.nested == nil {
				l.nested = make(map[*Handle]struct{})
			}
			l.nested[h] = struct{}{}
		}
	}
	l.mu.Unlock()
	if cause != nil {
		ctx.cancel(cause)
		return
	}
	context.AfterFunc(ctx.Context, func() { // parent ended, so the lease need not end this context
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(h.contexts, ctx)
		if len(h.contexts) == 0 {
			delete(l.nested, h)
		}
	})
}

// endContexts forgets the contexts of this handle, and returns them for the caller to
// end. Each handle has a set of its own, because all handles on the lease share the mutex.
// The caller holds the mutex.
func (h *Handle) endContexts() []*Context {
	contexts := slices.Collect(maps.Keys(h.contexts))
	h.contexts = nil
	delete(h.lease.nested, h)
	return contexts
}

// endAllContexts is endContexts for all handles.
func (l *Lease) endAllContexts() []*Context {
	contexts := l.first.endContexts()
	for handle := range l.nested {
		contexts = append(contexts, handle.endContexts()...)
	}
	return contexts
}

// Err returns nil until the context has ended. It ends the context if its lease has ended: the
// goroutine that has ended the lease may still be ending other contexts.
func (c *Context) Err() error {
	if c.Context.Err() == nil {
		if cause := c.handle.Err(); cause != nil {
			c.cancel(cause)
		}
	}
	return c.Context.Err()
}
