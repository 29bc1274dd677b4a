package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// A transfer needs both accounts. Transfers in both directions at the same time cannot wait for
// each other, although they name the accounts in different orders.
func ExampleLocker_DoAll() {
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	transfer := func(from, to string) error {
		return locker.DoAll(context.Background(), []string{from, to}, func(ctx context.Context) error {
			fmt.Println("from", from, "to", to)
			return ctx.Err() // not nil if one of the locks is lost: then the work stops
		})
	}
	fmt.Println(transfer("accounts/7", "accounts/3"))
	fmt.Println(transfer("accounts/3", "accounts/7"))
	// Output:
	// from accounts/7 to accounts/3
	// <nil>
	// from accounts/3 to accounts/7
	// <nil>
}

// Each key has its own fencing token.
func ExampleLocker_LockAll() {
	locker, err := redlock.New(newNodes(), redlock.WithFencing())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	locks, err := locker.LockAll(ctx, []string{"shelf/9", "order/42"})
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range locks.Keys() {
		fmt.Println(key, locks.Fence(key) > 0)
	}
	_, err = locker.TryLockAll(ctx, []string{"order/41", "order/42"})
	var taken *redlock.QuorumError
	fmt.Println(errors.Is(err, redlock.ErrTaken), errors.As(err, &taken) && taken.Key == "order/42")
	fmt.Println(locks.Unlock(ctx))
	// Output:
	// order/42 true
	// shelf/9 true
	// true true
	// <nil>
}
