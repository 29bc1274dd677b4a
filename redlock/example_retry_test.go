package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Three attempts, with random pauses of up to 10 and then up to 20 milliseconds between them.
func ExampleWithRetry() {
	ctx := context.Background()
	policy := redlock.Exponential(10*time.Millisecond, time.Second).Jitter().Limit(3)
	locker, err := redlock.New(newNodes(), redlock.WithRetry(policy))
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)

	_, err = locker.Lock(ctx, "orders/42")
	var failed *redlock.QuorumError
	if errors.As(err, &failed) {
		fmt.Println(errors.Is(err, redlock.ErrTaken), "after", failed.Tries, "tries")
	}
	// Output: true after 3 tries
}

// Any function of the number of attempts can be a policy.
func ExampleRetryFunc() {
	square := redlock.RetryFunc(func(tries int) time.Duration {
		return time.Duration(tries*tries) * time.Millisecond
	})
	_, err := redlock.New(newNodes(), redlock.WithRetry(square.Limit(10)))
	fmt.Println(err)
	// Output: <nil>
}

// While other processes still use redsync on the same keys, callers poll for two seconds before they
// join the queue. So neither side starves.
func ExampleRetryPolicy_ThenQueue() {
	policy := redlock.Fixed(300 * time.Millisecond).Jitter().ThenQueue(2 * time.Second)
	locker, err := redlock.New(newNodes(), redlock.WithRetry(policy), redlock.WithWait(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(locker.Do(context.Background(), "orders/42", func(context.Context) error { return nil }))
	// Output: <nil>
}
