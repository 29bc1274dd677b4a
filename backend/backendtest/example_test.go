package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// forgetful deletes whatever anybody asks it to delete.
type forgetful struct{ backend.Node }

func (n forgetful) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	n.Node.EvalDelete(ctx, key, token)
	return true, nil
}

// Check tells which rules a node breaks. In a test, Run does the same with a
// subtest for each.
func ExampleCheck() {
	err := backendtest.Check(context.Background(), backendtest.Harness{
		New: backendtest.Reuse(forgetful{memory.New()}),
	})
	var first *backendtest.CheckError
	if errors.As(err, &first) {
		fmt.Println(first.Check)
		fmt.Println(first.Err)
	}
	// Output:
	// SetNX/free
	// EvalDelete of the key just taken, with another token = true, want false
}

// The reply to a SetNX is lost: the caller has an error, the server the key.
func ExampleFaultNode() {
	ctx := context.Background()
	server := memory.New()
	n := backendtest.NewFaultNode(server)

	n.Set(backendtest.On(backendtest.Kind(backend.OpSetNX), backendtest.LoseReply(nil)))
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

// A server that is stopped keeps what it was sent, and executes it when it goes
// on, though nobody waits for it any more.
func ExampleStall() {
	server := memory.New()
	n := backendtest.NewFaultNode(server)
	stall, resume := backendtest.Stall()
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

// A fault of one's own: the server refuses one key.
func ExampleEach() {
	ctx := context.Background()
	n := backendtest.NewFaultNode(memory.New())
	n.Set(backendtest.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
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

// A node that can do nothing but the three methods: what works on it works on
// every node.
func ExampleBare() {
	n := backendtest.Bare(memory.New())
	_, scripts := backend.As[backend.Scripter](n)
	fmt.Println(scripts)
	fmt.Println(n.SetNX(context.Background(), "orders/42", "anna", time.Minute))
	// Output:
	// false
	// true <nil>
}

// Two nodes that answer alike.
func ExampleCompare() {
	err := backendtest.Compare(context.Background(), memory.New(), memory.New(), "compare:", 1, 1000)
	fmt.Println(err)
	// Output: <nil>
}
