package work

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// SeveralKeys is the number of keys that the work several locks together.
const SeveralKeys = 8

var several = Work{
	Name: "several",
	About: fmt.Sprintf("One goroutine locks and unlocks %d free keys together (LockAll), and one key alone. ", SeveralKeys) +
		"lock_p50_us is the median of the lock, time_us that of lock and unlock, where both numbers of keys take turns by the pair.",
	Run: func(ctx context.Context, b *Bench) error {
		for _, nodes := range b.sizes(b.Plan.Nodes) {
			if err := b.several(ctx, server.Addrs(b.Servers[:nodes]), b.Plan.Rounds, b.Plan.Pairs); err != nil {
				return err
			}
		}
		return nil
	},
}

func (b *Bench) several(ctx context.Context, addrs []string, rounds, pairs int) error {
	var list []*peer.Implementation
	for _, i := range b.Implementations {
		if i.Library == peer.Own { // no other library locks several keys together
			list = append(list, i)
		}
	}
	var runners []*runner
	for _, keys := range []int{1, SeveralKeys} {
		some, closeAll := b.open(list, measure.Cell{Work: "several", Nodes: len(addrs), Clients: keys}, addrs)
		defer closeAll()
		runners = append(runners, some...)
	}
	b.Progress("several: %d nodes, %d implementations, %d rounds of %d pairs", len(addrs), len(list), rounds, pairs)
	turns := newRotation(runners, func(r *runner, err error) { b.dropped(r.cell, err) })
	for round := range rounds + 1 {
		n := pairs
		if round == 0 { // it only warms up
			n = min(pairs, warmUp)
		}
		locks, all := make(map[*runner][]time.Duration), make(map[*runner][]time.Duration)
		if err := turns.shuffle(ctx, n, func(r *runner) error {
			lock, both, err := r.together()
			locks[r], all[r] = append(locks[r], lock), append(all[r], both)
			return err
		}); err != nil {
			return err
		}
		for _, r := range runners {
			if round > 0 && len(all[r]) == n {
				b.Results.Add(r.cell, measure.LockMiddle, micros(measure.Quantile(locks[r], 0.5)))
				b.Results.Add(r.cell, measure.Time, micros(measure.Quantile(all[r], 0.5)))
			}
		}
	}
	return nil
}

// together locks and unlocks as many keys as the cell says. It returns how long the lock took,
// and both.
func (r *runner) together() (lock, both time.Duration, err error) {
	defer r.guard(0)()
	keys := make([]string, r.cell.Clients)
	for i := range keys {
		keys[i] = keyOf(r.cell, i)
	}
	start := time.Now()
	inside := func() { lock = time.Since(start) }
	if len(keys) == 1 {
		err = r.client.Hold(context.Background(), keys[0], inside)
	} else {
		err = r.client.(peer.Joint).HoldAll(context.Background(), keys, inside)
	}
	return lock, time.Since(start), err
}
