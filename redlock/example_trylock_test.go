package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// One attempt, for a job that may already be running elsewhere.
func ExampleLocker_TryLock() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.TryLock(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)

	_, err = locker.TryLock(ctx, "nightly-report")
	switch {
	case errors.Is(err, redlock.ErrTaken):
		fmt.Println("somebody else does it")
	case errors.Is(err, redlock.ErrUnavailable):
		fmt.Println("the servers do not answer:", err)
	}
	// Output: somebody else does it
}
