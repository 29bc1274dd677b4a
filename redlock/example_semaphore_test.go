package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// At most three workers, on any machines, use the printer at the same time.
func ExampleLocker_Semaphore() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	printer := locker.Semaphore("printer", 3)
	err = printer.Do(ctx, func(ctx context.Context) error {
		fmt.Println("printing")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}

	for range 3 { // all permits
		permit, err := printer.TryAcquire(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer permit.Unlock(ctx)
	}
	_, err = printer.TryAcquire(ctx)
	fmt.Println("no more permits:", errors.Is(err, redlock.ErrTaken))
	// Output:
	// printing
	// no more permits: true
}
