package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/redlock"
)

// One process locks, another one takes the lock over, given the key and the token.
func ExampleLocker_Resume() {
	ctx := context.Background()
	nodes := newNodes()
	first, err := redlock.New(nodes)
	if err != nil {
		log.Fatal(err)
	}
	lock, err := first.Lock(ctx, "migration")
	if err != nil {
		log.Fatal(err)
	}
	key, token := lock.Key(), lock.Token() // kept somewhere safe: it is the right to unlock

	second, err := redlock.New(nodes)
	if err != nil {
		log.Fatal(err)
	}
	lock, err = second.Resume(ctx, key, token)
	if err != nil {
		log.Fatal(err) // it matches ErrNotHeld if the lock has expired meanwhile
	}
	fmt.Println(lock.Unlock(ctx))
	// Output: <nil>
}

// A lock with a fencing token is handed over with that: what the second process writes shows
// the same number to the resource, and the nodes keep it for as long as the lock is held.
func ExampleWithFence() {
	ctx := context.Background()
	nodes := newNodes()
	first, err := redlock.New(nodes)
	if err != nil {
		log.Fatal(err)
	}
	lock, err := first.Lock(ctx, "migration", redlock.WithFencing())
	if err != nil {
		log.Fatal(err)
	}
	key, token, fence := lock.Key(), lock.Token(), lock.Fence()

	second, err := redlock.New(nodes)
	if err != nil {
		log.Fatal(err)
	}
	resumed, err := second.Resume(ctx, key, token, redlock.WithFence(fence))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resumed.Fence() == fence)
	fmt.Println(resumed.Unlock(ctx))
	// Output:
	// true
	// <nil>
}

// A lock is given back without a handle, by a process that knows key and token.
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
	fmt.Println(locker.Release(ctx, "migration", lock.Token()))
	err = locker.Release(ctx, "migration", lock.Token())
	fmt.Println(errors.Is(err, redlock.ErrNotHeld))
	// Output:
	// <nil>
	// true
}
