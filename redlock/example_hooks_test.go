package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// Hooks feed whatever metrics a program has.
func ExampleWithHooks() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes(), redlock.WithHooks(redlock.Hooks{
		Locked: func(e redlock.Event) {
			fmt.Println("locked", e.Key, "tries:", e.Tries, "taken:", errors.Is(e.Err, redlock.ErrTaken))
		},
		Unlocked: func(e redlock.Event) {
			fmt.Println("unlocked", e.Key, e.Err)
		},
	}))
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := locker.TryLock(ctx, "orders/42"); err == nil {
		log.Fatal("locked twice")
	}
	if err := lock.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// locked orders/42 tries: 1 taken: false
	// locked orders/42 tries: 1 taken: true
	// unlocked orders/42 <nil>
}
