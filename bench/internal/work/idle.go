package work

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

const (
	warmUp = 50 // pairs before the measurement

	// quiet is how long a slice waits after its last call for background work of the library,
	// which is part of its cost.
	quiet = 2 * time.Millisecond
)

var idle = Work{
	Name: "idle",
	About: "One goroutine locks and unlocks a key that nobody else uses. Time is the median of a pair, where implementations take turns by the pair; " +
		"allocations, bytes and CPU are the client's, per pair, where each has many pairs in a row.",
	Run: func(ctx context.Context, b *Bench) error {
		for _, nodes := range b.sizes(b.Plan.Nodes) {
			if err := b.idle(ctx, "idle", server.Addrs(b.Servers[:nodes]), b.Plan.Rounds, b.Plan.Pairs); err != nil {
				return err
			}
		}
		return nil
	},
}

func (b *Bench) idle(ctx context.Context, work string, addrs []string, rounds, pairs int) error {
	cell := measure.Cell{Work: work, Nodes: len(addrs), Clients: 1}
	runners, closeAll := b.open(b.entrants(len(addrs)), cell, addrs)
	defer closeAll()
	b.Progress("%s: %d nodes, %d implementations, %d rounds of %d pairs", work, cell.Nodes, len(runners), rounds, pairs)
	turns := newRotation(runners, func(r *runner, err error) { b.dropped(r.cell, err) })
	if err := turns.run(ctx, 1, func(r *runner) error { return r.pairs(min(pairs, warmUp)) }); err != nil {
		return err
	}
	for range rounds {
		// A machine is at times twice as fast as at others, and a sleeping core takes longer to
		// wake than the rest of a pair. So compared measurements must be close in time.
		times := make(map[*runner][]time.Duration)
		if err := turns.shuffle(ctx, pairs, func(r *runner) error {
			took, err := r.pair()
			times[r] = append(times[r], took)
			return err
		}); err != nil {
			return err
		}
		for _, r := range runners {
			if list := times[r]; len(list) == pairs {
				b.Results.Add(r.cell, measure.Time, micros(measure.Quantile(list, 0.5)))
			}
		}
	}
	return turns.run(ctx, rounds, func(r *runner) error {
		meter := measure.NewMeter()
		if err := r.pairs(pairs); err != nil {
			return err
		}
		time.Sleep(quiet)
		used := meter.Read()
		n := float64(pairs)
		b.Results.Add(r.cell, measure.Allocs, float64(used.Allocs)/n)
		b.Results.Add(r.cell, measure.Bytes, float64(used.Bytes)/n)
		b.Results.Add(r.cell, measure.CPU, micros(used.CPU)/n)
		return nil
	})
}

// pairs locks and unlocks one key n times. Its context cannot end, as in most examples, because
// drivers and libraries have to watch a context that can.
func (r *runner) pairs(n int) error {
	defer r.guard(0)()
	ctx, key, inside := context.Background(), keyOf(r.cell, 0), func() {}
	for range n {
		if err := r.client.Hold(ctx, key, inside); err != nil {
			return err
		}
	}
	return nil
}

// pair makes one pair, and returns how long it took.
func (r *runner) pair() (time.Duration, error) {
	defer r.guard(0)()
	key, inside := keyOf(r.cell, 0), func() {}
	start := time.Now()
	err := r.client.Hold(context.Background(), key, inside)
	return time.Since(start), err
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
