package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// One process locks, and another process takes the lock over. The handover is one line of text.
// Send it where nobody else can read it, because it carries the right to unlock.
func ExampleLocker_Resume() {
	ctx := context.Background()
	nodes := newNodes()
	first, err := redlock.New(nodes, redlock.WithFencing())
	if err != nil {
		log.Fatal(err)
	}
	lock, err := first.Lock(ctx, "migration")
	if err != nil {
		log.Fatal(err)
	}
	line, err := lock.Handover().MarshalText()
	if err != nil {
		log.Fatal(err)
	}

	var handover redlock.Handover
	if err := handover.UnmarshalText(line); err != nil {
		log.Fatal(err)
	}
	second, err := redlock.New(nodes, redlock.WithFencing())
	if err != nil {
		log.Fatal(err)
	}
	resumed, err := second.Resume(ctx, handover)
	if err != nil {
		log.Fatal(err) // matches ErrNotHeld if the lock has expired meanwhile
	}
	fmt.Println(resumed.Fence() == lock.Fence())
	fmt.Println(resumed.Unlock(ctx))
	// Output:
	// true
	// <nil>
}

// A process that has the Handover of a lock releases it without a handle.
func ExampleLocker_Release() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "migration")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(locker.Release(ctx, lock.Handover()))
	err = locker.Release(ctx, lock.Handover())
	fmt.Println(errors.Is(err, redlock.ErrNotHeld))
	// Output:
	// <nil>
	// true
}
