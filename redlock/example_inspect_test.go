package redlock_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Inspect shows who holds the lock, by a label of the holder's own choice.
func ExampleLocker_Inspect() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes(), redlock.WithOwner("billing-3"))
	if err != nil {
		log.Fatal(err)
	}
	status, err := locker.Inspect(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status)

	lock, err := locker.Lock(ctx, "orders/42", redlock.WithTTL(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)
	status, err = locker.Inspect(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.State, "by", status.Owner, "for", status.TTL.Round(time.Second))
	// Output:
	// "orders/42" is free (a: free; b: free; c: free)
	// held by billing-3 for 1m0s
}
