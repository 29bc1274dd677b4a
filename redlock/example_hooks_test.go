package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Hooks feed the metrics and traces that a program uses. Here they are a gauge of waiting
// callers, a histogram of hold times, and a span for each call. Package redlockotel has hooks
// for OpenTelemetry.
func ExampleWithHooks() {
	held := func(_ context.Context, e redlock.Event) {
		if e.Held > 0 {
			fmt.Println("histogram: held for more than 10 ms:", e.Held > 10*time.Millisecond)
		}
	}
	locker, err := redlock.New(newNodes(), redlock.WithHooks(redlock.Hooks{
		// A span would begin here: Begin returns the ctx for the other hooks of the call.
		Begin: func(ctx context.Context, e redlock.Event) context.Context {
			return context.WithValue(ctx, spanKey{}, fmt.Sprintf("%s in %v", e.Op, ctx.Value(spanKey{})))
		},
		Waiting: func(context.Context, redlock.Event) { fmt.Println("gauge: +1") },
		Locked: func(ctx context.Context, e redlock.Event) {
			if e.Waited {
				fmt.Println("gauge: -1")
			}
			fmt.Println("span:", ctx.Value(spanKey{}), "taken", errors.Is(e.Err, redlock.ErrTaken))
		},
		Unlocked: held,
		Lost:     held,
	}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.WithValue(context.Background(), spanKey{}, "request 1")
	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	other := context.WithValue(context.Background(), spanKey{}, "request 2")
	if _, err := locker.Lock(other, "orders/42", redlock.WithWait(20*time.Millisecond)); err == nil {
		log.Fatal("locked twice")
	}
	if err := lock.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// span: lock in request 1 taken false
	// gauge: +1
	// gauge: -1
	// span: lock in request 2 taken true
	// histogram: held for more than 10 ms: true
}

// spanKey stands for the key of a tracer in a ctx.
type spanKey struct{}

// A package that gets a Locker observes its own locks, and sets its own defaults.
func ExampleLocker_With() {
	given, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	locker, err := given.With(redlock.WithTTL(time.Minute), redlock.WithHooks(redlock.Hooks{
		Locked: func(_ context.Context, e redlock.Event) { fmt.Println("locked", e.Key) },
	}))
	if err != nil {
		log.Fatal(err)
	}
	err = locker.Do(context.Background(), "orders/42", func(context.Context) error { return nil })
	fmt.Println(err)
	// Output:
	// locked orders/42
	// <nil>
}
