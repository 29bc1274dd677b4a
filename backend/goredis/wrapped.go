package goredis

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

// wrapped is the route through a client of a type unknown to this package. What
// it does on the way is its own affair, so it is called as it is.
type wrapped struct {
	client redis.UniversalClient
	guard  guard
}

func (r *wrapped) process(ctx context.Context, c *command) error {
	_, err := r.guard.run(ctx, []*command{c}, func() error { return r.client.Process(ctx, c) })
	return err
}

func (r *wrapped) pipeline(ctx context.Context, cs []*command) {
	pipe := r.client.Pipeline()
	back, err := r.guard.run(ctx, cs, func() error { return execute(ctx, pipe, cs) })
	if !back {
		fail(cs, err) // the commands still belong to the driver
		return
	}
	settle(cs, err)
}

func (r *wrapped) masters(context.Context) ([]*redis.Client, error) { return nil, errWrapped }

// maxStrays is how many calls may be left behind in a client, past their
// deadline, before further ones fail at once.
const maxStrays = 4

// A guard bounds calls into the driver that may not heed their context.
type guard struct{ strays atomic.Int32 }

// run has call run on a goroutine of its own, and returns true and what it
// returned; or, when ctx ends first, false and the error of ctx. Then the call,
// which goes on, owns cs, its commands, with their arguments; nobody else may read
// them, and they count as written. A call that was not made, because of too many
// strays, is false and an error as well.
func (g *guard) run(ctx context.Context, cs []*command, call func() error) (back bool, err error) {
	if ctx.Done() == nil {
		return true, call()
	}
	if g.strays.Load() >= maxStrays {
		return false, backend.MarkNotExecuted(errStrays)
	}
	for _, c := range cs {
		c.own()
	}
	done := make(chan error, 1)
	var over atomic.Bool // the call has returned, or has been left behind
	go func() {
		done <- call()
		if !over.CompareAndSwap(false, true) {
			g.strays.Add(-1)
		}
	}()
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
	}
	g.strays.Add(1)
	if !over.CompareAndSwap(false, true) {
		g.strays.Add(-1)
		return true, <-done
	}
	for _, c := range cs {
		c.written.Store(true)
	}
	return false, ctx.Err()
}
