package redlock_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// A lock that extends itself until it is unlocked, for work of unknown length that does not fit
// into one function.
func ExampleWithAutoExtend() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes(), redlock.WithTTL(1500*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "leader", redlock.WithAutoExtend())
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)

	work := lock.Context(ctx) // ends if the lock is lost
	select {
	case <-time.After(3200 * time.Millisecond):
		fmt.Println("still the leader after twice the TTL")
	case <-work.Done():
		fmt.Println(context.Cause(work))
	}
	// Output: still the leader after twice the TTL
}
