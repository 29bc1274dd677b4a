package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Hooks feed whatever metrics and traces a program has: here a gauge of callers that wait, a
// histogram of the times for which locks were held, and a span for each call.
func ExampleWithHooks() {
	held := func(_ context.Context, e redlock.Event) {
		if e.Held > 0 {
			fmt.Println("histogram: held for more than 10 ms:", e.Held > 10*time.Millisecond)
		}
	}
	locker, err := redlock.New(newNodes(), redlock.WithHooks(redlock.Hooks{
		Waiting: func(context.Context, redlock.Event) { fmt.Println("gauge: +1") },
		Locked: func(ctx context.Context, e redlock.Event) {
			if e.Waited {
				fmt.Println("gauge: -1")
			}
			// With OpenTelemetry:
			//	end := time.Now()
			//	_, span := tracer.Start(ctx, "lock", trace.WithTimestamp(end.Add(-e.Elapsed)))
			//	span.End(trace.WithTimestamp(end))
			fmt.Println("span: parent", ctx.Value(spanKey{}), "taken", errors.Is(e.Err, redlock.ErrTaken))
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
	// span: parent request 1 taken false
	// gauge: +1
	// gauge: -1
	// span: parent request 2 taken true
	// histogram: held for more than 10 ms: true
}

// spanKey stands for the key of a tracer in a ctx.
type spanKey struct{}

// A package that is given a Locker observes its own locks, and sets its own defaults.
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
