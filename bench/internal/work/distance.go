package work

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// pairRoundTrips is the number of round trips of a pair on a network.
const pairRoundTrips = 2

var distance = Work{
	Name: "distance",
	About: "The works idle and distinct with all nodes further away, by so much in each direction (a proxy in the benchmark's process, " +
		"which costs everybody the same).",
	Run: func(ctx context.Context, b *Bench) error {
		for _, d := range b.Plan.Distances {
			for _, nodes := range b.sizes(b.Plan.DistanceNodes) {
				if err := b.distance(ctx, d, nodes); err != nil {
					return err
				}
			}
		}
		return nil
	},
}

func (b *Bench) distance(ctx context.Context, d time.Duration, nodes int) error {
	far, closeAll, err := distant(server.Addrs(b.Servers[:nodes]), d)
	if err != nil {
		return err
	}
	defer closeAll()
	pair := pairRoundTrips * 2 * d
	pairs := max(4, int(b.Plan.DistanceSlice/pair))
	if err := b.idle(ctx, fmt.Sprintf("idle+%v", d), far, b.Plan.DistanceRounds, pairs); err != nil {
		return err
	}
	return b.distinct(ctx, fmt.Sprintf("distinct+%v", d), far, b.Plan.DistanceRounds, max(b.Plan.DistanceSlice, 8*pair))
}
