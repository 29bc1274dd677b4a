package redlock

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// Processes that always want a permit get about the same number of them, and no slot stays
// free for longer than a grace while somebody waits.
func TestSemaphoreIsFair(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			const (
				clients, n = 16, 4
				hold       = 10 * time.Millisecond
				simulated  = 5 * time.Second
				trip       = time.Millisecond
				grace      = 20 * time.Millisecond
				late       = grace + grace/4 + 8*trip // a reservation that nobody uses ends, and the next one looks
			)
			var (
				mu            sync.Mutex
				counts        = make([]int, clients)
				held, waiting int
				most          int
				idle, longest time.Duration // how long a slot has been free while somebody waited
				everybody     sync.WaitGroup
			)
			add := func(to *int, n int) {
				mu.Lock()
				defer mu.Unlock()
				*to += n
				most = max(most, held)
			}
			r.setAll(faulty.Delay(trip/2), faulty.DelayReply(trip/2))
			end := time.Now().Add(simulated)
			lockers := make([]*Locker, clients)
			for i := range clients {
				lockers[i] = r.locker()
				s := lockers[i].Semaphore("k", n)
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				everybody.Go(func() {
					for time.Now().Before(end) {
						add(&waiting, 1)
						permit, err := s.Acquire(t.Context())
						add(&waiting, -1)
						if err != nil {
							t.Error(err)
							return
						}
						add(&held, 1)
						counts[i]++
						time.Sleep(hold/2 + time.Duration(rng.Int64N(int64(hold))))
						add(&held, -1)
						if err := permit.Unlock(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for time.Now().Before(end) {
				time.Sleep(time.Millisecond)
				mu.Lock()
				if waiting > 0 && held < n {
					idle += time.Millisecond
				} else {
					idle = 0
				}
				longest = max(longest, idle)
				mu.Unlock()
			}
			everybody.Wait()
			total, squares := 0.0, 0.0
			for _, c := range counts {
				total += float64(c)
				squares += float64(c) * float64(c)
			}
			jain := total * total / (clients * squares)
			t.Logf("%d nodes: %v permits in %v: Jain's index %.4f, at most %d at a time, at most %v idle", size, total, simulated, jain, most, longest)
			if jain < 0.97 || most != n || longest > late {
				t.Errorf("Jain's index %.4f, at most %d at a time, %v idle; want at least 0.97, %d, and at most %v", jain, most, longest, n, late)
			}
			r.clear()
			for _, l := range lockers {
				if err := l.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			r.empty()
		})
	}
}
