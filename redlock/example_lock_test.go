package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
)

// newNodes stands in for three independent servers. A program makes nodes from the clients that
// it has, for example with goredis.New.
func newNodes() []backend.Node {
	return []backend.Node{
		memory.New(memory.WithName("a")), memory.New(memory.WithName("b")), memory.New(memory.WithName("c")),
	}
}

// A caller waits for a lock, holds it, and releases it.
func ExampleLocker_Lock() {
	locker, err := redlock.New(newNodes(), redlock.WithTTL(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // bounds the wait
	defer cancel()

	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)

	// No other caller has the lock now. Finish the work, or extend the lock, before Until.
	fmt.Println(lock.Key(), time.Until(lock.Until()) > 9*time.Second)
	// Output: orders/42 true
}

// The work stops when the lock is lost, and the cause says why.
func ExampleLock_Context() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes(), redlock.WithTTL(500*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)

	work := lock.Context(ctx)
	select {
	case <-time.After(time.Minute):
		fmt.Println("done")
	case <-work.Done():
		fmt.Println("lost:", errors.Is(context.Cause(work), redlock.ErrNotHeld))
	}
	// Output: lost: true
}

// A handle extends its lock explicitly.
func ExampleLock_Extend() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock(ctx)

	if err := lock.Extend(ctx, time.Minute); err != nil {
		log.Fatal(err) // if it matches ErrNotHeld, stop the work
	}
	fmt.Println(time.Until(lock.Until()) > 50*time.Second)
	// Output: true
}
