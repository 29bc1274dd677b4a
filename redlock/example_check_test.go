package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// Before a long step, a worker asks the servers whether it still holds the lock. Here an
// operator has released it meanwhile.
func ExampleLock_Check() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}
	_, err = lock.Check(ctx)
	fmt.Println("before:", err)

	if err := locker.Release(ctx, lock.Handover()); err != nil {
		log.Fatal(err)
	}
	_, err = lock.Check(ctx)
	fmt.Println("after: lost:", errors.Is(err, redlock.ErrNotHeld))
	// Output:
	// before: <nil>
	// after: lost: true
}
