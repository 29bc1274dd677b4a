package goredis

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// A route takes commands to the servers behind one kind of client, and is back
// by the deadline of ctx. What the servers or the driver answer is returned as
// it is.
type route interface {
	// process sends c to the master of its key.
	process(ctx context.Context, c *command) error

	// pipeline sends cs, each to the master of its key, in one round trip, and
	// leaves in each what came of it. Commands on one key run in order.
	pipeline(ctx context.Context, cs []*command)

	// masters returns a client for each master, as the driver has it.
	masters(ctx context.Context) ([]*redis.Client, error)
}

// ring refuses.
type ring struct{}

func (ring) process(context.Context, *command) error { return errRing }

func (ring) pipeline(_ context.Context, cs []*command) { fail(cs, errRing) }

func (ring) masters(context.Context) ([]*redis.Client, error) { return nil, errRing }

// fail notes err as what came of each of cs.
func fail(cs []*command, err error) {
	for _, c := range cs {
		c.err = err
	}
}

// execute sends cs on pipe and returns the driver's verdict on the whole, for
// settle. The driver reads and writes cs until execute returns, and not afterwards.
func execute(ctx context.Context, pipe redis.Pipeliner, cs []*command) error {
	list := make([]redis.Cmder, len(cs))
	for i, c := range cs {
		list[i] = c
	}
	if err := pipe.BatchProcess(ctx, list...); err != nil {
		return err
	}
	_, err := pipe.Exec(ctx)
	return err
}

// settle notes what came of each of cs, after an execute that returned err. The
// driver leaves commands without a reply and without an error where it was
// refused when it set up the connection; then err says why.
func settle(cs []*command, err error) {
	if err == nil || isNil(err) {
		err = errUnanswered
	}
	for _, c := range cs {
		switch {
		case c.Err() != nil:
			c.err = c.Err()
		case c.Val() == nil:
			c.err = err
		default:
			c.err = nil
		}
	}
}
