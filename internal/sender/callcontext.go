package sender

import (
	"context"
	"sync"
	"time"
)

// CallTimeout is how long a call on a node may take, whatever the time for
// which somebody waits for it: long enough to dial, to shake hands and to
// authenticate, so that the connection serves the next call.
const CallTimeout = 2 * time.Second

// callShare is for how long the calls of senders share a context.
const callShare = CallTimeout / 4

// callContext hands out contexts with a deadline under which nodes are called. One
// context serves all the calls that begin within a short time; a context of its own
// for each call would be most of what a call allocates.
//
// A context is shared and belongs to no call. So nobody can cancel it: it ends by its
// deadline only, for all of them.
type callContext struct {
	mu    sync.Mutex
	ctx   context.Context
	most  time.Duration // that a call has
	fresh time.Time     // until when ctx may be handed out
}

// get returns a context that ends in most at the latest, and no more than share
// before that.
func (c *callContext) get(most, share time.Duration, now time.Time) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil || c.most != most || now.After(c.fresh) {
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(most))
		_ = cancel // it ends by its deadline only, which frees it
		c.ctx, c.most, c.fresh = ctx, most, now.Add(share)
	}
	return c.ctx
}
