package redlock_test

import (
	"context"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// Who waits is called when the lock is free, the first who asked first; nobody asks
// again and again meanwhile. It takes no option.
func ExampleLocker_Lock_waiting() {
	ctx := context.Background()
	nodes := newNodes()
	anna, err := redlock.New(nodes) // in one process
	if err != nil {
		log.Fatal(err)
	}
	ben, err := redlock.New(nodes) // in another
	if err != nil {
		log.Fatal(err)
	}
	held, err := anna.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lock, err := ben.Lock(ctx, "orders/42")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("ben has it")
		lock.Unlock(ctx)
	}()
	fmt.Println("anna has it")
	held.Unlock(ctx)
	<-done
	// Output:
	// anna has it
	// ben has it
}
