package quorum

import (
	"context"
	"sync"
	"time"
)

// CallTimeout is how long a call on a node may take, whatever the time for
// which somebody waits for it: long enough to dial, to shake hands and to
// authenticate, so that the connection serves the next call.
const CallTimeout = 2 * time.Second

// callContext hands out the contexts under which lanes call their nodes. One
// context serves all the calls that begin within a short time, each of which
// so has at least CallTimeout; a context of its own for each call would be most
// of what a call allocates.
type callContext struct {
	mu    sync.Mutex
	ctx   context.Context
	fresh time.Time // until when ctx may be handed out
}

func (c *callContext) get() context.Context {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil || now.After(c.fresh) {
		const share = CallTimeout / 4
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(CallTimeout+share))
		_ = cancel // it ends by its deadline only, which frees it
		c.ctx, c.fresh = ctx, now.Add(share)
	}
	return c.ctx
}
