package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// One process locks, and another one takes the lock over. What is handed over is one line of
// text, which goes where nobody else can read it: it is the right to unlock.
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
		log.Fatal(err) // it matches ErrNotHeld if the lock has expired meanwhile
	}
	fmt.Println(resumed.Fence() == lock.Fence())
	fmt.Println(resumed.Unlock(ctx))
	// Output:
	// true
	// <nil>
}

// A lock is released without a handle, by a process that has its Handover.
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
