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

const (
	// lockers is the number of goroutines that acquire the held locks and release them.
	lockers = 16

	// perLock is the longest time for acquiring or releasing one lock.
	perLock = time.Millisecond
)

var held = Work{
	Name: "held",
	About: "One client holds many locks, which extend themselves at a third of their TTL. Goroutines and heap are what they add; a lock is lost if the " +
		"library says so, or if its key is not on every node.",
	Run: func(ctx context.Context, b *Bench) error {
		for _, nodes := range b.sizes(b.Plan.HeldNodes) {
			for _, i := range b.entrants(nodes) {
				if i.OpenKeeper == nil {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				cell := measure.Cell{Work: "held", Nodes: nodes, Clients: b.Plan.Locks, Implementation: i.Name()}
				b.Progress("held: %d nodes, %d locks, %s, %v", nodes, b.Plan.Locks, i.Name(), b.Plan.Watch)
				if err := b.held(ctx, i, cell); err != nil {
					if ctx.Err() != nil {
						return err
					}
					b.dropped(cell, err)
				}
			}
		}
		return nil
	},
}

func (b *Bench) held(ctx context.Context, i *peer.Implementation, cell measure.Cell) error {
	nodes := b.Servers[:cell.Nodes]
	goroutines, heap := inUse()
	keeper, err := i.OpenKeeper(server.Addrs(nodes), b.Plan.TTL)
	if err != nil {
		return err
	}
	defer keeper.Close()

	tooLong := stuck + time.Duration(cell.Clients)*perLock
	guard := time.AfterFunc(tooLong, keeper.Close)
	start := time.Now()
	locks, prefix := make([]peer.Kept, cell.Clients), b.freshKey(cell)
	err = spread(len(locks), func(at int) (err error) {
		locks[at], err = keeper.Keep(ctx, fmt.Sprintf("%s:%d", prefix, at))
		return err
	})
	acquired := time.Since(start)
	if !guard.Stop() {
		return fmt.Errorf("not all locks were there after %v; when the client was closed: %w", tooLong, err)
	}
	if err != nil {
		return err
	}

	goroutinesNow, heapNow := inUse()
	before, err := server.Count(ctx, nodes)
	if err != nil {
		return err
	}
	meter := measure.NewMeter()
	select {
	case <-time.After(b.Plan.Watch):
	case <-ctx.Done():
		return ctx.Err()
	}
	used := meter.Read()
	after, err := server.Count(ctx, nodes)
	if err != nil {
		return err
	}

	lost := 0
	for _, lock := range locks {
		if lock.Lost() {
			lost++
		}
	}
	for _, node := range nodes {
		there, err := node.Matching(ctx, "*"+prefix+":*")
		if err != nil {
			return err
		}
		lost = max(lost, len(locks)-there)
	}
	b.Results.Add(cell, measure.Acquire, acquired.Seconds())
	b.Results.Add(cell, measure.Goroutines, float64(goroutinesNow-goroutines))
	b.Results.Add(cell, measure.Heap, float64(heapNow-heap)/(1<<20))
	b.Results.Add(cell, measure.CPUShare, used.CPU.Seconds()/used.Wall.Seconds())
	b.Results.Add(cell, measure.Extensions, float64(after.Since(before, "eval", "evalsha"))/float64(cell.Nodes)/used.Wall.Seconds())
	b.Results.Add(cell, measure.Lost, float64(lost))

	released := make(chan struct{})
	go func() {
		defer close(released)
		spread(len(locks), func(at int) error {
			locks[at].Release()
			return nil
		})
	}()
	select {
	case <-released:
	case <-time.After(tooLong):
		b.note("held: %s had not released all locks after %v", cell.Implementation, tooLong)
	}
	return nil
}

// inUse returns what this process uses now, after unused memory was freed.
func inUse() (goroutines int, heap int64) {
	runtime.GC()
	runtime.GC() // frees what the first collection removed from pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), int64(m.HeapAlloc)
}

// spread calls f for 0 … n-1, many at a time, until one call fails.
func spread(n int, f func(int) error) error {
	var (
		next   atomic.Int64
		failed atomic.Bool
		wg     sync.WaitGroup
		errs   = make([]error, lockers)
	)
	for w := range lockers {
		wg.Go(func() {
			for !failed.Load() {
				at := int(next.Add(1)) - 1
				if at >= n {
					return
				}
				if errs[w] = f(at); errs[w] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
