package redlock

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/quorumlock/quorumlock/backend"
)

// swift is a node that grants everything, runs scripts, and sends batches. It counts what it
// allocates itself.
type swift struct {
	prompt
	count, size *atomic.Int64
}

var done, _ = backend.NewReply(int64(1))

func (*swift) Eval(context.Context, *backend.Script, []string, []string) (backend.Reply, error) {
	return done, nil
}

func (n *swift) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	time.Sleep(100 * time.Microsecond) // so that others gather
	results := make([]backend.Result, len(ops))
	n.count.Add(1)
	n.size.Add(int64(len(ops)) * int64(unsafe.Sizeof(results[0])))
	for i, op := range ops {
		results[i] = op.Do(ctx, n)
	}
	return results
}

// allocations returns how many allocations and bytes a pair of lock and unlock on that many nodes
// takes, if that many goroutines make pairs at the same time, each with that many keys.
func allocations(t *testing.T, size, goroutines, keys int, pair func(context.Context, *Locker, []string) error) (count, bytes float64) {
	t.Helper()
	var own, ownSize atomic.Int64 // of the nodes
	var nodes []backend.Node
	for i := range size {
		nodes = append(nodes, &swift{prompt(fmt.Sprint("n", i)), &own, &ownSize})
	}
	l, err := New(nodes, WithTTL(10*time.Minute), WithNodeTimeout(time.Minute)) // nothing fails on a busy machine
	if err != nil {
		t.Fatal(err)
	}
	const pairs = 200
	run := func() {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				ctx, names := context.Background(), make([]string, keys)
				for i := range names {
					names[i] = fmt.Sprint("orders/", g, "/", i)
				}
				for range pairs {
					if err := pair(ctx, l, names); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	run()
	var before, after runtime.MemStats
	own.Store(0)
	ownSize.Store(0)
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	all := float64(goroutines * pairs)
	return float64(int64(after.Mallocs-before.Mallocs)-own.Load()) / all,
		float64(int64(after.TotalAlloc-before.TotalAlloc)-ownSize.Load()) / all
}

// pair locks and unlocks the keys.
func pair(ctx context.Context, l *Locker, keys []string) error {
	if len(keys) > 1 {
		locks, err := l.LockAll(ctx, keys)
		if err != nil {
			return err
		}
		return locks.Unlock(ctx)
	}
	lock, err := l.Lock(ctx, keys[0])
	if err != nil {
		return err
	}
	return lock.Unlock(ctx)
}

// What a pair allocates is most of what the collector of garbage costs, which is a good part of what
// a pair costs under load. The limits leave room for less than one more allocation. With three
// nodes, the release of a lock may have to wait behind the acquire on one of them, in a list that has to
// be allocated.
func TestPairAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector, a sync.Pool drops a quarter of what it gets")
	}
	for _, test := range []struct {
		nodes, goroutines, keys int
		count, size             float64
	}{
		{1, 1, 1, 4.8, 1370},
		{1, 32, 1, 4.8, 1400},
		{3, 1, 1, 9.9, 2500},
		{3, 32, 1, 9.9, 2500},
		{1, 1, 8, 58, 16700},
	} {
		t.Run(fmt.Sprintf("%d nodes, %d goroutines, %d keys", test.nodes, test.goroutines, test.keys), func(t *testing.T) {
			count, size := allocations(t, test.nodes, test.goroutines, test.keys, pair)
			t.Logf("%.2f allocations, %.0f bytes", count, size)
			if count > test.count {
				t.Errorf("a pair makes %.2f allocations, want at most %v", count, test.count)
			}
			if size > test.size {
				t.Errorf("a pair allocates %.0f bytes, want at most %v", size, test.size)
			}
		})
	}
}

// A permit allocates what its lock does, its Semaphore and the key of its slot, but no call.
func TestPermitAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector, a sync.Pool drops a quarter of what it gets")
	}
	count, size := allocations(t, 1, 1, 1, func(ctx context.Context, l *Locker, keys []string) error {
		permit, err := l.Semaphore(keys[0], 4).Acquire(ctx)
		if err != nil {
			return err
		}
		return permit.Unlock(ctx)
	})
	t.Logf("%.2f allocations, %.0f bytes", count, size)
	const mostCount, mostSize = 8.8, 1500 // a call has 384 bytes
	if count > mostCount {
		t.Errorf("a permit makes %.2f allocations, want at most %v", count, mostCount)
	}
	if size > mostSize {
		t.Errorf("a permit allocates %.0f bytes, want at most %v", size, mostSize)
	}
}
