package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/redlock"
)

// What to do about an error, and how each node answered.
func ExampleQuorumError() {
	nodes := newNodes()
	for i, fault := range []faulty.Fault{faulty.Refuse(nil), faulty.Hang()} {
		broken := faulty.NewFaultNode(nodes[i])
		broken.Set(fault)
		nodes[i] = broken
	}
	locker, err := redlock.New(nodes, redlock.WithNodeTimeout(100*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = locker.TryLock(ctx, "orders/42")
	switch {
	case errors.Is(err, redlock.ErrTaken):
		fmt.Println("held by somebody else: try later")
	case errors.Is(err, redlock.ErrUnavailable):
		fmt.Println("too many nodes failed: call somebody")
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("this would be our own deadline, never a node's")
	}
	var q *redlock.QuorumError
	if errors.As(err, &q) {
		for _, node := range q.Rounds[0] {
			fmt.Println(node.Node, node.Outcome)
		}
	}
	// Output:
	// too many nodes failed: call somebody
	// a failed
	// b timed out
	// c granted
}
