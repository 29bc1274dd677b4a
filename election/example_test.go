package election_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/redlock"
)

// One of several processes runs a scheduler. Here it resigns after its work, and stops
// campaigning.
func ExampleCampaign() {
	nodes := []backend.Node{memory.New(), memory.New(), memory.New()}
	locker, err := redlock.New(nodes, redlock.WithOwner("web1"))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = election.Campaign(ctx, locker, "scheduler", election.Callbacks{
		Lead: func(ctx context.Context, term uint64) error {
			leader, err := election.Current(ctx, locker, "scheduler")
			fmt.Println("leading:", leader.Owner, term > 0, err)
			cancel()
			<-ctx.Done() // as if this process no longer led
			return nil
		},
		Overstays: func(term uint64) { log.Fatalf("term %d: the work does not stop", term) },
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// leading: web1 true <nil>
	// true
}
