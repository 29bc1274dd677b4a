package redlock_test

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
)

// Many read at the same time, or one writes.
func ExampleLocker_RLock() {
	locker, err := redlock.New([]backend.Node{memory.New()})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	writer, err := locker.Lock(ctx, "config")
	if err != nil {
		panic(err)
	}
	fmt.Println("the config is written")
	if err := writer.Downgrade(ctx); err != nil { // nobody writes in between
		panic(err)
	}
	reader, err := locker.RLock(ctx, "config")
	if err != nil {
		panic(err)
	}
	fmt.Println("two read:", writer.Shared(), reader.Shared())
	_ = writer.Unlock(ctx)
	_ = reader.Unlock(ctx)
	// Output:
	// the config is written
	// two read: true true
}
