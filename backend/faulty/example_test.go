package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// The reply to a SetNX is lost: the caller gets an error, but the server has the key.
func ExampleFaultNode() {
	ctx := context.Background()
	server := memory.New()
	n := faulty.NewFaultNode(server)

	n.Set(faulty.On(faulty.Kind(backend.OpSetNX), faulty.LoseReply(nil)))
	fmt.Println(n.SetNX(ctx, "orders/42", "anna", time.Minute))
	fmt.Println(server.Keys())

	n.Clear()
	fmt.Println(n.SetNX(ctx, "orders/42", "ben", time.Minute))
	for _, call := range n.Calls() {
		fmt.Println(call.Ops[0].Kind, call.Ops[0].Token, call.Results[0].OK, call.Results[0].Err)
	}
	// Output:
	// false EOF
	// [orders/42]
	// false <nil>
	// SetNX anna false EOF
	// SetNX ben false <nil>
}

// A stalled server keeps what it was sent, and executes it later, although nobody waits for it
// any more.
func ExampleStall() {
	server := memory.New()
	n := faulty.NewFaultNode(server)
	stall, resume := faulty.Stall()
	n.Set(stall)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	fmt.Println(n.SetNX(ctx, "orders/42", "anna", time.Minute))
	fmt.Println(server.Keys())
	resume()
	fmt.Println(server.Keys())
	// Output:
	// false context deadline exceeded
	// []
	// [orders/42]
}

// A custom fault: the server rejects one key.
func ExampleEach() {
	ctx := context.Background()
	n := faulty.NewFaultNode(memory.New())
	n.Set(faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
		if op.Key == "secret" {
			return backend.Result{Err: backend.MarkReply(errors.New("NOPERM No permissions to access a key"))}
		}
		return next(ctx)
	}))
	for _, r := range n.Batch(ctx, []backend.Op{
		{Kind: backend.OpSetNX, Key: "orders/42", Token: "anna", TTL: time.Minute},
		{Kind: backend.OpSetNX, Key: "secret", Token: "anna", TTL: time.Minute},
	}) {
		fmt.Println(r.OK, r.Err)
	}
	// Output:
	// true <nil>
	// false NOPERM No permissions to access a key
}

// A node with only the three basic methods. Code that works on it works on every node.
func ExampleBare() {
	n := faulty.Bare(memory.New())
	_, scripts := backend.As[backend.Scripter](n)
	fmt.Println(scripts)
	fmt.Println(n.SetNX(context.Background(), "orders/42", "anna", time.Minute))
	// Output:
	// false
	// true <nil>
}
