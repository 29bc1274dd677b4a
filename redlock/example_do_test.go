package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// A function runs under the lock, however long it takes.
func ExampleLocker_Do() {
	locker, err := redlock.New(newNodes(), redlock.WithTTL(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	err = locker.Do(context.Background(), "orders/42", func(ctx context.Context) error {
		fmt.Println("working")
		return ctx.Err() // not nil if the lock is lost: then it stops
	})
	if errors.Is(err, redlock.ErrNotHeld) {
		fmt.Println("the lock was lost on the way:", err)
	}
	fmt.Println(err)
	// Output:
	// working
	// <nil>
}
