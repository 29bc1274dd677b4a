package work

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

const (
	warmUp = 50 // pairs before anything is measured

	// quiet is how long a slice waits for what a library still has under way after
	// its last call returned: that is part of what it costs.
	quiet = 2 * time.Millisecond
)

var idle = Work{
	Name: "idle",
	About: "One goroutine locks and unlocks a key that nobody else uses. Time is the median of a pair; allocations, bytes and CPU are the client's, " +
		"per pair.",
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
	times := make([]time.Duration, pairs)
	turns := newRotation(runners, func(r *runner, err error) { b.dropped(r.cell, err) })
	if err := turns.run(ctx, 1, func(r *runner) error { return r.pairs(times[:min(pairs, warmUp)]) }); err != nil {
		return err
	}
	return turns.run(ctx, rounds, func(r *runner) error {
		meter := measure.NewMeter()
		if err := r.pairs(times); err != nil {
			return err
		}
		time.Sleep(quiet)
		used := meter.Read()
		n := float64(pairs)
		b.Results.Add(r.cell, measure.Time, micros(measure.Quantile(times, 0.5)))
		b.Results.Add(r.cell, measure.Allocs, float64(used.Allocs)/n)
		b.Results.Add(r.cell, measure.Bytes, float64(used.Bytes)/n)
		b.Results.Add(r.cell, measure.CPU, micros(used.CPU)/n)
		return nil
	})
}

// pairs locks and unlocks one key over and over, and notes how long each took. Its
// context cannot end, as in most examples: one that can makes drivers and libraries
// watch it.
func (r *runner) pairs(times []time.Duration) error {
	defer r.guard(0)()
	ctx, key, inside := context.Background(), keyOf(r.cell, 0), func() {}
	for i := range times {
		start := time.Now()
		if err := r.client.Hold(ctx, key, inside); err != nil {
			return err
		}
		times[i] = time.Since(start)
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
