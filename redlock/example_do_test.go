package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// The wait is bounded, but the work is not: once the lock is acquired, the job may run for any
// length of time.
func ExampleWithWait() {
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background() // a deadline here would also bound the work
	job := func(ctx context.Context) error {
		time.Sleep(300 * time.Millisecond)
		return ctx.Err()
	}
	fmt.Println(locker.Do(ctx, "orders/42", job, redlock.WithWait(200*time.Millisecond)))
	// Output: <nil>
}

// A job runs unless it is already running.
func ExampleLocker_TryDo() {
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	job := func(context.Context) error {
		err := locker.TryDo(context.Background(), "report", func(context.Context) error { return nil })
		fmt.Println("in between:", errors.Is(err, redlock.ErrTaken))
		return nil
	}
	fmt.Println(locker.TryDo(ctx, "report", job))
	// Output:
	// in between: true
	// <nil>
}

// A function runs under the lock, however long it takes.
func ExampleLocker_Do() {
	locker, err := redlock.New(newNodes(), redlock.WithTTL(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	err = locker.Do(context.Background(), "orders/42", func(ctx context.Context) error {
		fmt.Println("working")
		return ctx.Err() // not nil if the lock is lost: then the work stops
	})
	if errors.Is(err, redlock.ErrNotHeld) {
		fmt.Println("the lock was lost on the way:", err)
	}
	fmt.Println(err)
	// Output:
	// working
	// <nil>
}
