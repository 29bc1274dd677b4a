package redlock_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/quorumlock/quorumlock/redlock"
)

// A Mutex has the shape of sync.Mutex, but works across processes.
func ExampleMutex() {
	ctx := context.Background()
	locker, err := redlock.New(newNodes())
	if err != nil {
		log.Fatal(err)
	}
	mutex := locker.Mutex("counter", redlock.WithAutoExtend())
	counter := 0
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			if err := mutex.Lock(ctx); err != nil {
				log.Fatal(err)
			}
			counter++
			if err := mutex.Unlock(ctx); err != nil {
				log.Print(err) // the lock was lost before
			}
		})
	}
	workers.Wait()
	fmt.Println(counter)
	// Output: 3
}
