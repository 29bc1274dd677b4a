package work

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// goroutines is the number of goroutines that share a client in this work.
const goroutines = peer.MaxClients

// Widths are the numbers of batches that a ceiling has under way at once. Together they contain
// as many pairs as the other implementations have goroutines. The best width depends on the
// driver and the machine.
var Widths = []int{1, 2, 4}

var distinct = Work{
	Name: "distinct",
	About: "64 goroutines with one client lock and unlock keys of their own. The ceiling is the driver alone, which is handed 64 SETs at once and then 64 " +
		"deletions, as one batch, two or four, for each node.",
	Run: func(ctx context.Context, b *Bench) error {
		for _, nodes := range b.sizes(b.Plan.Nodes) {
			if err := b.distinct(ctx, "distinct", server.Addrs(b.Servers[:nodes]), b.Plan.Rounds, b.Plan.Slice); err != nil {
				return err
			}
		}
		return nil
	},
}

// CeilingName returns the name of a ceiling in results.
func CeilingName(driver string, width int) string {
	return fmt.Sprintf("%s/%s %dx%d", peer.CeilingName, driver, width, goroutines/width)
}

// crowd is a set of goroutines, each of which repeats its own turn, and the number of pairs of a
// turn.
type crowd struct {
	cell  measure.Cell
	turns []func() error
	pairs int // of one turn
	close func()
}

func (b *Bench) distinct(ctx context.Context, work string, addrs []string, rounds int, slice time.Duration) error {
	cell := measure.Cell{Work: work, Nodes: len(addrs), Clients: goroutines}
	runners, closeAll := b.open(b.entrants(len(addrs)), cell, addrs)
	defer closeAll()
	var crowds []crowd
	for _, r := range runners {
		c := crowd{cell: r.cell, pairs: 1, close: r.client.Close}
		for range goroutines {
			c.turns = append(c.turns, b.turn(r))
		}
		crowds = append(crowds, c)
	}
	ceilings, closeCeilings, err := b.ceilings(cell, addrs)
	if err != nil {
		return err
	}
	defer closeCeilings()
	crowds = append(crowds, ceilings...)

	b.Progress("%s: %d nodes, %d implementations, %d rounds of %v", work, cell.Nodes, len(crowds), rounds, slice)
	turns := newRotation(crowds, func(c crowd, err error) { b.dropped(c.cell, err) })
	if err := turns.run(ctx, 1, func(c crowd) error { _, err := c.run(slice / 4); return err }); err != nil {
		return err
	}
	return turns.run(ctx, rounds, func(c crowd) error { return b.slice(ctx, c, slice) })
}

// slice lets c run for d, and adds the results.
func (b *Bench) slice(ctx context.Context, c crowd, d time.Duration) error {
	servers := b.Servers[:c.cell.Nodes]
	before, err := server.CPU(ctx, servers)
	if err != nil {
		return err
	}
	meter := measure.NewMeter()
	t, err := c.run(d)
	if err != nil {
		return err
	}
	time.Sleep(quiet)
	used := meter.Read()
	after, err := server.CPU(ctx, servers)
	if err != nil {
		return err
	}
	served := after - before
	pairs := float64(t.pairs)
	b.Results.Add(c.cell, measure.Rate, pairs/t.took.Seconds())
	b.Results.Add(c.cell, measure.CPU, micros(used.CPU)/pairs)
	b.Results.Add(c.cell, measure.ServerCPU, micros(served)/pairs)
	b.Results.Add(c.cell, measure.ClientIdle, unused(used.CPU, t.took, runtime.GOMAXPROCS(0)))
	b.Results.Add(c.cell, measure.ServerIdle, unused(served, t.took, len(servers)))
	b.Results.Add(c.cell, measure.Allocs, float64(used.Allocs)/pairs)
	b.Results.Add(c.cell, measure.Bytes, float64(used.Bytes)/pairs)
	b.Results.Add(c.cell, measure.Errors, float64(t.errors))
	b.noteFailures(c.cell, t.errors, t.last)
	return nil
}

// unused returns the share of the time of that many cores that was not used.
func unused(used, took time.Duration, cores int) float64 {
	return max(0, 1-used.Seconds()/(took.Seconds()*float64(cores)))
}

// turn returns the turn of one goroutine: it locks and unlocks its key. After an error, which may
// leave the key locked, it uses another key.
func (b *Bench) turn(r *runner) func() error {
	ctx, key, inside := context.Background(), b.freshKey(r.cell), func() {}
	return func() error {
		err := r.client.Hold(ctx, key, inside)
		if err != nil {
			key = b.freshKey(r.cell)
		}
		return err
	}
}

// ceilings makes a crowd for each driver and width. With several nodes, all nodes get each batch
// at the same time, and the batch ends when all have answered.
func (b *Bench) ceilings(cell measure.Cell, addrs []string) (crowds []crowd, closeAll func(), err error) {
	var open []func()
	closeAll = func() {
		for _, close := range open {
			close()
		}
	}
	for _, ceiling := range b.Ceilings {
		batches := make(batches, len(addrs))
		for i, addr := range addrs {
			batch, err := ceiling.Open(addr)
			if err != nil {
				closeAll()
				return nil, nil, err
			}
			batches[i] = batch
			open = append(open, batch.Close)
		}
		for _, width := range Widths {
			c := crowd{cell: cell, pairs: goroutines / width, close: batches.close}
			c.cell.Implementation = CeilingName(ceiling.Driver, width)
			for w := range width {
				var keys []string
				for i := range c.pairs {
					keys = append(keys, keyOf(c.cell, w*c.pairs+i))
				}
				c.turns = append(c.turns, batches.turn(keys))
			}
			crowds = append(crowds, c)
		}
	}
	return crowds, closeAll, nil
}

// batches is a driver's pipelines to all nodes.
type batches []peer.Batch

// turn returns a turn that locks the keys on all nodes with one batch, and unlocks them with another.
func (b batches) turn(keys []string) func() error {
	var sets, releases []peer.Command
	for _, key := range keys {
		sets = append(sets, peer.Command{Key: key})
		releases = append(releases, peer.Command{Key: key, Release: true})
	}
	return func() error {
		if len(b) == 1 {
			return pairs(b[0], sets, releases)
		}
		errs := make([]error, len(b))
		var wg sync.WaitGroup
		for i, batch := range b {
			wg.Go(func() { errs[i] = pairs(batch, sets, releases) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

func pairs(b peer.Batch, sets, releases []peer.Command) error {
	if err := b.Send(context.Background(), sets); err != nil {
		return err
	}
	return b.Send(context.Background(), releases)
}

func (b batches) close() {
	for _, batch := range b {
		batch.Close()
	}
}

// tally is the result of a crowd.
type tally struct {
	pairs, errors int64
	last          any // the text of the last error
	took          time.Duration
}

// run lets all goroutines take turns for d. It fails if no turn succeeded, or if some turns never
// ended.
func (c crowd) run(d time.Duration) (tally, error) {
	var (
		start         = time.Now()
		end           = start.Add(d)
		turns, errors atomic.Int64
		last          atomic.Value
		wg            sync.WaitGroup
	)
	guard := time.AfterFunc(d+stuck, c.close)
	for _, turn := range c.turns {
		wg.Go(func() {
			var good, bad int64
			for time.Now().Before(end) {
				if err := turn(); err != nil {
					bad++
					last.Store(err.Error())
					continue
				}
				good++
			}
			turns.Add(good)
			errors.Add(bad)
		})
	}
	wg.Wait()
	t := tally{turns.Load() * int64(c.pairs), errors.Load(), last.Load(), time.Since(start)}
	switch {
	case !guard.Stop():
		return t, fmt.Errorf("calls did not return within %v; when the client was closed: %v", stuck, t.last)
	case t.pairs == 0:
		return t, fmt.Errorf("all of %d turns failed: %v", t.errors, t.last)
	}
	return t, nil
}
