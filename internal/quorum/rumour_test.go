package quorum

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// Forged notifications for a key that many wait for do not take the lock from those whose
// turn it is. Without verifying them every one of them is an attempt on all nodes: the
// negative control.
func TestForgedNotifications(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			healthy, _ := handOvers(t, n, 0, true)
			forged, ops := handOvers(t, n, 1000, true)
			_, without := handOvers(t, n, 1000, false)
			t.Logf("%d nodes: %d hand-overs a second, %d with forged notifications (%d operations), without verifying %d operations", n, healthy, forged, ops, without)
			if forged < healthy/2 {
				t.Errorf("%d hand-overs with forged notifications, want at least half of %d", forged, healthy)
			}
			if n > 1 && without < 5*ops/4 {
				t.Errorf("%d operations with verifying, %d without", ops, without)
			}
		})
	}
}

// handOvers has processes wait for one key in turn for a second, while the inbox of
// each gets so many forged notifications a second from one node. It returns how often
// the lock was handed over in a second, and how many operations that took.
func handOvers(t *testing.T, n, rate int, verify bool) (locks, ops int) {
	t.Helper()
	inWorldOf(t, n, full, func(t *testing.T, w *world) {
		const processes = 6
		ctx, cancel := context.WithCancel(t.Context())
		var (
			all  sync.WaitGroup
			mu   sync.Mutex
			list []*process
		)
		for range processes {
			p := w.process(full)
			p.distant(time.Millisecond)
			list = append(list, p)
			all.Go(func() {
				for ctx.Err() == nil {
					a, err := p.lock(ctx, "k")
					if err != nil {
						return
					}
					mu.Lock()
					locks++
					mu.Unlock()
					time.Sleep(time.Millisecond)
					release(a)
				}
			})
		}
		time.Sleep(200 * time.Millisecond)
		if rate > 0 {
			all.Go(func() {
				for ctx.Err() == nil {
					for _, p := range list {
						if !verify {
							for range 16 { // so that it is believed, whatever came before
								p.Members[0].Rumours.Granted(true)
							}
						}
						p.hear(0, "gk")
					}
					time.Sleep(time.Second / time.Duration(rate))
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		mu.Lock()
		locks = 0
		mu.Unlock()
		for _, p := range list {
			p.forget()
		}
		time.Sleep(time.Second)
		mu.Lock()
		counted := locks
		mu.Unlock()
		for _, p := range list {
			for _, f := range p.fault {
				ops += len(f.Arrived())
			}
		}
		cancel()
		for _, p := range list {
			p.set(faulty.Delay(0))
		}
		all.Wait()
		locks = counted
	})
	return locks, ops
}
