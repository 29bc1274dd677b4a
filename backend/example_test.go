package backend_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// counter is a transparent wrapper: what it does not count, it leaves to the
// node behind it.
type counter struct {
	backend.Node
	granted int
}

func (c *counter) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	ok, err := c.Node.SetNX(ctx, key, token, ttl)
	if ok {
		c.granted++
	}
	return ok, err
}

func (c *counter) Unwrap() backend.Node { return c.Node }

func ExampleAs() {
	ctx := context.Background()
	n := &counter{Node: memory.New(memory.WithName("in memory"))}
	n.SetNX(ctx, "orders/42", "anna", time.Minute)

	if named, ok := backend.As[backend.Namer](n); ok {
		fmt.Println(named.Name())
	}
	if s, ok := backend.As[backend.Scripter](n); ok {
		r, err := s.Eval(ctx, lua.Inspect, []string{"orders/42"}, nil)
		fmt.Println(r[1], err)
	}
	// Output:
	// in memory
	// anna <nil>
}

func ExampleMarkReply() {
	err := backend.MarkReply(errors.New("NOPERM this user has no permissions to run the 'set' command"))
	fmt.Println(errors.Is(err, backend.ErrRefused), backend.NotExecuted(err))
	fmt.Println(err)
	// Output:
	// true true
	// NOPERM this user has no permissions to run the 'set' command
}
