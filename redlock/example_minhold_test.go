package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Two machines start a job at about the same time. The machine whose clock is behind finds the
// lock still taken, although the job has ended.
func ExampleWithMinHold() {
	nodes := newNodes()
	ctx := context.Background()
	job := func(context.Context) error { fmt.Println("the job runs"); return nil }
	for range 2 {
		machine, err := redlock.New(nodes)
		if err != nil {
			log.Fatal(err)
		}
		err = machine.TryDo(ctx, "report", job, redlock.WithMinHold(30*time.Second))
		if errors.Is(err, redlock.ErrTaken) {
			fmt.Println("somebody else has run it")
		}
	}
	// Output:
	// the job runs
	// somebody else has run it
}
