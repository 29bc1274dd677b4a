package backend_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// counter is a transparent wrapper. Calls that it does not count go to the node behind it.
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

// A program opens the connections to all nodes when it starts. Otherwise its first lock may fail
// on a slow network, because a new connection takes longer than the node timeout.
func ExampleNode() {
	nodes := []backend.Node{memory.New(), memory.New(), memory.New()}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { _, errs[i] = n.EvalDelete(ctx, "unused", "nobody") }) // deletes nothing
	}
	all.Wait()
	fmt.Println(errors.Join(errs...)) // the program can go on, because a quorum of nodes is enough
	// Output: <nil>
}

func ExampleMarkReply() {
	err := backend.MarkReply(errors.New("NOPERM this user has no permissions to run the 'set' command"))
	fmt.Println(errors.Is(err, backend.ErrRefused), backend.NotExecuted(err))
	fmt.Println(err)
	// Output:
	// true true
	// NOPERM this user has no permissions to run the 'set' command
}
