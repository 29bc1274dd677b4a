package work

import (
	"context"
	"runtime"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

var drain = Work{
	Name: "drain",
	About: "Clients with connections of their own all want one key at the same moment, hold it for 1 ms and leave. The time is until the last has left; " +
		"first_drain_ms is that of the first time, when subscriptions are made too. Commands are per acquisition and node.",
	Run: func(ctx context.Context, b *Bench) error {
		return b.contend(ctx, "drain", b.Plan.Clients, b.Plan.DrainRounds, func(i *peer.Implementation, cell measure.Cell) error {
			runtime.GC()
			nodes := b.Servers[:cell.Nodes]
			f, err := b.newFleet(ctx, i, cell, sameFor(server.Addrs(nodes)), cell.Clients)
			if err != nil {
				return err
			}
			defer f.close()
			first, err := f.drain(ctx, b.Plan.Patience)
			if err != nil {
				return err
			}
			var d drained
			commands, err := counted(ctx, nodes, func() (err error) {
				d, err = f.drain(ctx, b.Plan.Patience)
				return err
			})
			if err != nil {
				return err
			}
			b.Results.Add(cell, measure.Drain, millis(d.took))
			b.Results.Add(cell, measure.FirstDrain, millis(first.took))
			b.Results.Add(cell, measure.LongestWait, millis(d.longestWait))
			b.Results.Add(cell, measure.Left, float64(first.left+d.left))
			if had := cell.Clients - d.left; had > 0 {
				b.Results.Add(cell, measure.Commands, float64(commands)/float64(had*cell.Nodes))
			}
			return nil
		})
	},
}

// contend calls f for each implementation that waits, in turn and in that many rounds, for each
// number of nodes and of clients.
func (b *Bench) contend(ctx context.Context, work string, clients []int, rounds int, f func(*peer.Implementation, measure.Cell) error) error {
	for _, nodes := range b.sizes(b.Plan.ContendedNodes) {
		for _, n := range clients {
			list := b.contenders(nodes)
			b.Progress("%s: %d nodes, %d clients, %d implementations, %d rounds", work, nodes, n, len(list), rounds)
			cellOf := func(i *peer.Implementation) measure.Cell {
				return measure.Cell{Work: work, Nodes: nodes, Clients: n, Implementation: i.Name()}
			}
			turns := newRotation(list, func(i *peer.Implementation, err error) { b.dropped(cellOf(i), err) })
			if err := turns.run(ctx, rounds, func(i *peer.Implementation) error { return f(i, cellOf(i)) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// contenders returns the implementations that wait, one for each way of waiting.
func (b *Bench) contenders(nodes int) []*peer.Implementation {
	var list []*peer.Implementation
	for _, i := range b.entrants(nodes) {
		if !i.Alone && !i.Same {
			list = append(list, i)
		}
	}
	return list
}
