package scripttest_test

import (
	"context"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/check"
)

// A client is the node that a test checks: a memory node behind a fault node, with what the test
// breaks.
type client struct {
	*faulty.FaultNode
	server *memory.Node // for what only the server can do

	eval      func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error)
	subscribe func(ctx context.Context, channel string, events backend.Events) error
}

func newClient(wreck func(*client)) *client {
	server := memory.New()
	c := &client{FaultNode: faulty.NewFaultNode(server), server: server}
	wreck(c)
	return c
}

func (c *client) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	if c.eval != nil {
		return c.eval(ctx, s, keys, args)
	}
	return c.FaultNode.Eval(ctx, s, keys, args)
}

func (c *client) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if c.subscribe != nil {
		return c.subscribe(ctx, channel, events)
	}
	return c.FaultNode.Subscribe(ctx, channel, events)
}

// value returns the value of key.
func (c *client) value(key string) string {
	e, _ := c.server.Inspect(context.Background(), key)
	return e.Value
}

// ttl returns the time to live of key.
func (c *client) ttl(key string) time.Duration {
	e, _ := c.server.Inspect(context.Background(), key)
	return e.TTL
}

// hears changes how messages of every subscription are handled.
func (c *client) hears(message func(next func(string), payload string)) {
	n := c.FaultNode
	c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
		next := events.Message
		events.Message = func(payload string) { message(next, payload) }
		return n.Subscribe(ctx, channel, events)
	}
}

// server returns a server with every hook. Each check gets its own client.
func server(wreck func(*client)) check.Server {
	var last *client
	return check.Server{
		New: func(context.Context) (backend.Node, func(), error) {
			last = newClient(wreck)
			return last, nil, nil
		},
		Set: func(_ context.Context, _ backend.Node, key, value string, ttl time.Duration) error {
			last.server.Set(key, value, ttl)
			return nil
		},
		SetOther: func(_ context.Context, _ backend.Node, key string) error {
			last.server.Push(key, "element")
			return nil
		},
	}
}

// whole breaks nothing.
func whole(*client) {}

func beforeNUL(s string) string {
	before, _, _ := strings.Cut(s, "\x00")
	return before
}
