package redlock_test

import (
	"context"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
)

// A resource that remembers the highest token it has seen rejects a late holder. Package fence
// does this for SQL databases and for resources in the process.
func ExampleWithFencing() {
	nodes := []backend.Node{memory.New(), memory.New(), memory.New()}
	locker, err := redlock.New(nodes, redlock.WithFencing())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	var highest uint64
	write := func(token uint64, text string) {
		if token < highest {
			fmt.Println("refused:", text)
			return
		}
		highest = token
		fmt.Println("written:", text)
	}

	first, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	if err := first.Unlock(ctx); err != nil { // the lock may also expire while its holder is paused
		log.Fatal(err)
	}
	second, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	write(second.Fence(), "paid")
	write(first.Fence(), "open")
	if err := second.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// written: paid
	// refused: open
}
