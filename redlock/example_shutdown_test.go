package redlock_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// A program that ends releases the locks that it still holds, so that no caller waits for a TTL.
func ExampleLocker_Shutdown() {
	nodes := newNodes()
	locker, err := redlock.New(nodes)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	leader, err := locker.Lock(ctx, "leader", redlock.WithAutoExtend())
	if err != nil {
		log.Fatal(err)
	}

	// When the work has stopped, for example after SIGTERM:
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := locker.Shutdown(ending); err != nil {
		log.Print(err) // says which functions still run, or what is still being deleted
	}
	fmt.Println(leader.Err())
	other, err := redlock.New(nodes)
	if err != nil {
		log.Fatal(err)
	}
	_, err = other.TryLock(ctx, "leader")
	fmt.Println(err)
	// Output:
	// redlock: the Locker is closed
	// <nil>
}
