package redlock_test

import (
	"context"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// A function that locks an order calls another function that locks the same order.
func ExampleWithReentrancy() {
	locker, err := redlock.New(newNodes(), redlock.WithReentrancy())
	if err != nil {
		log.Fatal(err)
	}
	charge := func(ctx context.Context) error { // can also be called alone
		return locker.Do(ctx, "orders/42", func(ctx context.Context) error {
			fmt.Println("charging")
			return ctx.Err()
		})
	}
	err = locker.Do(context.Background(), "orders/42", func(ctx context.Context) error {
		if err := charge(ctx); err != nil { // ctx holds the lock, so charge does not wait for it
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
