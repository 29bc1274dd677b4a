package redlock_test

import (
	"context"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// A waiter is notified when the lock is free, in the order in which the waiters asked. Meanwhile
// nobody polls. This needs no option.
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
