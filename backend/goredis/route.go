package goredis

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// A route takes commands to the servers behind one kind of client, and returns by the
// deadline of ctx. It returns the answers of the servers or the driver unchanged.
type route interface {
	// process sends c to the master of its key.
	process(ctx context.Context, c *command) error

	// pipeline sends cs, each to the master of its key, in one round trip, and stores the
	// result in each. Commands on one key run in order.
	pipeline(ctx context.Context, cs []*command)

	// masters returns the driver's client for each master.
	masters(ctx context.Context) ([]*redis.Client, error)
}

// ring is the route for a Ring. It rejects everything.
type ring struct{}

func (ring) process(context.Context, *command) error { return errRing }

func (ring) pipeline(_ context.Context, cs []*command) { fail(cs, errRing) }

func (ring) masters(context.Context) ([]*redis.Client, error) { return nil, errRing }

// fail stores err as the result of each of cs.
func fail(cs []*command, err error) {
	for _, c := range cs {
		c.err = err
	}
}

// execute sends cs on pipe and returns the driver's error for the whole, which settle
// needs. The driver reads and writes cs only until execute returns.
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

// settle stores the result of each of cs, after an execute that returned err. If the
// server refused the driver while it set up the connection, the driver leaves commands
// without a reply and without an error. Then err is the reason.
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
