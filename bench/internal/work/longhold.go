package work

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

var longHold = Work{
	Name:  "long-hold",
	About: "Clients with connections of their own wait for a key that another holds for 5 s. Commands are per waiter and node, from when they ask until just before the release.",
	Run: func(ctx context.Context, b *Bench) error {
		few, many := b.Plan.Clients[0], b.Plan.Clients[len(b.Plan.Clients)-1]
		return b.contend(ctx, "long-hold", []int{few, many}, 1, func(i *peer.Implementation, cell measure.Cell) error {
			nodes := b.Servers[:cell.Nodes]
			f, err := b.newFleet(ctx, i, cell, sameFor(server.Addrs(nodes)), cell.Clients+1)
			if err != nil {
				return err
			}
			defer f.close()
			if _, err := f.drain(ctx, b.Plan.Patience); err != nil { // opens subscriptions
				return err
			}
			commands, err := f.longHold(ctx, b.Plan.LongHold, nodes)
			if err != nil {
				return err
			}
			b.Results.Add(cell, measure.Commands, float64(commands)/float64(cell.Clients*cell.Nodes))
			return nil
		})
	},
}

// longHold makes the first client hold a key for d while all others wait for it. It returns how
// many commands the nodes executed meanwhile.
func (f *fleet) longHold(ctx context.Context, d time.Duration, nodes []*server.Server) (commands int64, err error) {
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var (
		key     = f.key()
		waiters sync.WaitGroup
		broken  error
	)
	holdErr := f.clients[0].Hold(ctx, key, func() {
		var before, after server.Commands
		if before, err = server.Count(ctx, nodes); err != nil {
			return
		}
		var mu sync.Mutex
		for _, c := range f.clients[1:] {
			waiters.Go(func() {
				e := c.Hold(waiting, key, func() {})
				mu.Lock()
				defer mu.Unlock()
				if waiting.Err() == nil { // too early: the client got the lock, or gave up
					broken = fmt.Errorf("a waiter came back while the key was held: %v", e)
				}
			})
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		if after, err = server.Count(ctx, nodes); err == nil {
			commands = after.Since(before)
		}
		giveUp()
		waiters.Wait()
	})
	switch {
	case holdErr != nil:
		return 0, holdErr
	case err == nil:
		err = broken
	}
	return commands, err
}
