package work

import (
	"context"
	"runtime"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

var handOff = Work{
	Name: "handoff",
	About: "Clients with connections of their own lock one key over and over, 1 ms each time, for 3 s. Jain's index is 1 if all got it equally often. " +
		"In handoff-far one of 16 is 5 ms further away in each direction, and far_share is what it got, 1 being its due.",
	Run: func(ctx context.Context, b *Bench) error {
		if err := b.contend(ctx, "handoff", b.Plan.LoopClients, b.Plan.LoopRounds, func(i *peer.Implementation, cell measure.Cell) error {
			_, err := b.handOff(ctx, i, cell, sameFor(server.Addrs(b.Servers[:cell.Nodes])))
			return err
		}); err != nil {
			return err
		}
		return b.contend(ctx, "handoff-far", []int{b.Plan.FarClients}, b.Plan.LoopRounds, func(i *peer.Implementation, cell measure.Cell) error {
			where, closeAll, err := farFirst(server.Addrs(b.Servers[:cell.Nodes]), b.Plan.Far)
			if err != nil {
				return err
			}
			defer closeAll()
			l, err := b.handOff(ctx, i, cell, where)
			if err != nil {
				return err
			}
			if all := l.all(); all > 0 {
				b.Results.Add(cell, measure.FarShare, float64(l.shares[0]*len(l.shares))/float64(all))
			}
			return nil
		})
	},
}

func (b *Bench) handOff(ctx context.Context, i *peer.Implementation, cell measure.Cell, where func(int) []string) (looped, error) {
	runtime.GC()
	f, err := b.newFleet(ctx, i, cell, where, cell.Clients)
	if err != nil {
		return looped{}, err
	}
	defer f.close()
	if _, err := f.drain(ctx, b.Plan.Patience); err != nil { // opens subscriptions
		return looped{}, err
	}
	var l looped
	before := f.secondRounds()
	commands, err := counted(ctx, b.Servers[:cell.Nodes], func() (err error) {
		l, err = f.loop(ctx, b.Plan.Loop)
		return err
	})
	if err != nil {
		return l, err
	}
	b.Results.Add(cell, measure.Acquisitions, float64(l.all())/l.took.Seconds())
	b.Results.Add(cell, measure.LongestWait, millis(l.longestWait))
	if _, counts := f.clients[0].(peer.Rounds); counts && l.all() > 0 {
		b.Results.Add(cell, measure.OneRound, 1-float64(f.secondRounds()-before)/float64(l.all()))
	}
	jain := 0. // nobody got anything, which is not fair
	if l.all() > 0 {
		jain = measure.Jain(l.shares)
		b.Results.Add(cell, measure.Commands, float64(commands)/float64(l.all()*cell.Nodes))
	}
	b.Results.Add(cell, measure.Fairness, jain)
	return l, nil
}
