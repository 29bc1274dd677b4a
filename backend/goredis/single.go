package goredis

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// single is the route to one server, or to the master of a Sentinel set.
type single struct {
	client *redis.Client // honours deadlines
	calls  atomic.Int32  // the number of calls under way
	distrust
}

func newSingle(client *redis.Client) *single {
	return &single{client: withDeadlines(client), distrust: newDistrust(client)}
}

func (r *single) process(ctx context.Context, c *command) error {
	faults := r.begin(ctx)
	r.calls.Add(1)
	c.err = r.client.Process(ctx, c)
	r.calls.Add(-1)
	r.heard(ctx, faults, c)
	r.explain(c)
	return c.err
}

func (r *single) pipeline(ctx context.Context, cs []*command) {
	faults := r.begin(ctx)
	r.calls.Add(1)
	settle(cs, execute(ctx, r.client.Pipeline(), cs))
	r.calls.Add(-1)
	r.heard(ctx, faults, cs...)
	for _, c := range cs {
		r.explain(c)
	}
}

func (r *single) masters(context.Context) ([]*redis.Client, error) {
	return []*redis.Client{r.client}, nil
}

// withDeadlines returns a client over c's connections whose reads and writes end by the
// deadline of their context. That is c itself if it has the right options, otherwise a
// copy, which needs no closing. Waiting for a connection ends by the deadline with any
// client, because the driver dials on another goroutine.
func withDeadlines(c *redis.Client) *redis.Client {
	o := c.Options()
	if o.ContextTimeoutEnabled && o.ReadTimeout >= 0 && o.WriteTimeout >= 0 {
		return c
	}
	return clone(c)
}

// clone returns a copy of c that shares its connections and honours deadlines. The copy
// has options of its own.
func clone(c *redis.Client) *redis.Client {
	own := c.WithTimeout(0)
	from, to := c.Options(), own.Options()
	to.ContextTimeoutEnabled = true
	// With a negative value the driver would set no deadline on the connection.
	to.ReadTimeout = max(0, from.ReadTimeout)
	to.WriteTimeout = max(0, from.WriteTimeout)
	return own
}
