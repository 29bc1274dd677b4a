package redlock_test

import (
	"context"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// A function that locks what it works on calls another one that does, too.
func ExampleWithReentrancy() {
	locker, err := redlock.New(newNodes(), redlock.WithReentrancy())
	if err != nil {
		log.Fatal(err)
	}
	charge := func(ctx context.Context) error { // also called on its own
		return locker.Do(ctx, "orders/42", func(ctx context.Context) error {
			fmt.Println("charging")
			return ctx.Err()
		})
	}
	err = locker.Do(context.Background(), "orders/42", func(ctx context.Context) error {
		if err := charge(ctx); err != nil { // ctx holds the lock: it is not waited for
			return err
		}
		fmt.Println("shipping")
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// charging
	// shipping
	// <nil>
}
