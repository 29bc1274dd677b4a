package goredis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Hindered implements [backend.Explainer]. It returns an error if other users have all
// connections that a client for one server allows.
func (n *Node) Hindered() error {
	if r, ok := n.route.(*single); ok {
		return r.hindered()
	}
	return nil
}

func (r *single) hindered() error {
	if stats := r.client.PoolStats(); !r.full(stats) || int32(stats.PendingRequests) < r.calls.Load() {
		return nil
	}
	return r.exhausted()
}

// full reports whether all connections are in use.
func (r *single) full(stats *redis.PoolStats) bool {
	return stats.IdleConns == 0 && int(stats.TotalConns) >= r.size()
}

// size returns how many connections the client allows.
func (r *single) size() int {
	o := r.client.Options()
	if o.MaxActiveConns > 0 {
		return min(o.PoolSize, o.MaxActiveConns)
	}
	return o.PoolSize
}

// exhausted is the error of a client without a free connection.
func (r *single) exhausted() error {
	return fmt.Errorf("no free connection in the pool (size %d)", r.size())
}

// explain adds the reason to the error of c if it got no connection.
func (r *single) explain(c *command) {
	if c.err == nil || c.written.Load() {
		return
	}
	if errors.Is(c.err, redis.ErrPoolTimeout) || errors.Is(c.err, redis.ErrPoolExhausted) ||
		errors.Is(c.err, context.DeadlineExceeded) && r.hindered() != nil {
		c.err = fmt.Errorf("%w: %w", r.exhausted(), c.err)
	}
}
