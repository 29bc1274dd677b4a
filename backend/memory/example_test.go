package memory_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

func Example() {
	ctx := context.Background()
	n := memory.New()

	fmt.Println(n.SetNX(ctx, "orders/42", "anna", time.Minute))
	fmt.Println(n.SetNX(ctx, "orders/42", "ben", time.Minute))
	fmt.Println(n.EvalDelete(ctx, "orders/42", "ben"))
	fmt.Println(n.EvalDelete(ctx, "orders/42", "anna"))
	fmt.Println(n.Keys())
	// Output:
	// true <nil>
	// false <nil>
	// false <nil>
	// true <nil>
	// []
}

// With its own clock, a test can let a key expire without waiting.
func ExampleWithClock() {
	ctx := context.Background()
	now := time.Now()
	n := memory.New(memory.WithClock(func() time.Time { return now }))

	n.SetNX(ctx, "orders/42", "anna", 10*time.Second)
	now = now.Add(9999 * time.Millisecond)
	fmt.Println(n.Keys())
	now = now.Add(time.Millisecond)
	fmt.Println(n.Keys())
	// Output:
	// [orders/42]
	// []
}

// A restart without persistence: all locks are lost.
func ExampleNode_Flush() {
	ctx := context.Background()
	n := memory.New()
	n.SetNX(ctx, "orders/42", "anna", time.Minute)
	n.Flush()
	fmt.Println(n.SetNX(ctx, "orders/42", "ben", time.Minute))
	// Output: true <nil>
}

// A restart with persistence: locks are kept, but the node has a new run_id.
func ExampleNode_Restart() {
	ctx := context.Background()
	n := memory.New()
	marker := []string{"marker"}
	vote := func() error {
		_, err := n.Eval(ctx, lua.Acquire, []string{"orders/42", "orders/42", "marker"}, []string{"anna", "60000", "", "", "61000"})
		return err
	}

	n.Eval(ctx, lua.Mark, marker, nil)
	fmt.Println(vote())
	n.Restart()
	fmt.Println(errors.Is(vote(), backend.ErrQuarantined))
	// Output:
	// <nil>
	// true
}
