package sender

import (
	"context"
	"sync"
	"time"
)

// CallTimeout is the maximum duration of a call on a node, however long somebody waits
// for it. It is long enough to dial, shake hands and authenticate, so that the connection
// can serve the next call.
const CallTimeout = 2 * time.Second

// callShare is how long the calls of senders share a context.
const callShare = CallTimeout / 4

// callContext provides contexts with a deadline for calls on nodes. Calls that begin
// within a short time share one context, because a context for each call would be most of
// what a call allocates. So no single call may cancel it; it only ends at its deadline.
type callContext struct {
	mu    sync.Mutex
	ctx   context.Context
	most  time.Duration // maximum duration of a call
	fresh time.Time     // calls may share ctx until then
}

// get returns a context that ends after most at the latest, and at most share earlier.
func (c *callContext) get(most, share time.Duration, now time.Time) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil || c.most != most || now.After(c.fresh) {
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(most))
		_ = cancel // the context frees its resources at its deadline
		c.ctx, c.most, c.fresh = ctx, most, now.Add(share)
	}
	return c.ctx
}
