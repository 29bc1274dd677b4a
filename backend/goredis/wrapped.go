package goredis

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

// wrapped is the route through a client of a type that this package does not know. It
// calls the client's own methods, because nothing is known about what it does.
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

// maxStrays is how many calls may be abandoned in a client, past their deadline, before
// further calls fail at once.
const maxStrays = 4

// A guard limits calls into the driver that may ignore their context.
type guard struct{ strays atomic.Int32 }

// run runs call on a goroutine. It returns true and the error of call. If ctx ends first,
// it returns false and ctx's error. The abandoned call goes on and then owns cs, its
// commands, with their arguments: nobody else may read them, and they count as written.
// If too many calls are abandoned, run does not make the call, and returns false and an
// error.
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
	var over atomic.Bool // the call has returned, or was abandoned
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
