package waiting

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// Jain's index of a distribution over n clients is 1 if all have the same share, and 1/n if one
// has everything.
func jain(counts []int) float64 {
	sum, squares := 0.0, 0.0
	for _, n := range counts {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(counts)) * squares)
}

// 16 clients of every adapter compete for one lock. All get it equally often, even a client that
// is farther away from the servers.
func TestFairness(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, further := range []time.Duration{0, 5 * time.Millisecond} {
			t.Run(fmt.Sprintf("N=%d, one client %v further", n, further), func(t *testing.T) {
				const clients = 16
				list := servers.Start(t, servers.Any, n)
				l := newLog()
				all := newClients(t, l, clients-1, addrsOf(list))
				last := newClient(t, l, label(clients-1), drivers.All[0], addrsOf(list), true)
				last.slow(further)
				all = append(all, last)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for _, c := range all {
					c.warm(ctx)
				}
				for _, c := range all {
					wg.Go(func() { c.loop(ctx, time.Millisecond) })
				}
				time.Sleep(500 * time.Millisecond) // until all of them are queued
				before, start := counts(all), time.Now()
				var had []int
				for {
					time.Sleep(3 * time.Second)
					had = counts(all)
					for i := range had {
						had[i] -= before[i]
					}
					// On a busy machine, a few rounds of the queue take longer.
					if slices.Min(had) >= 10 || time.Since(start) > 15*time.Second {
						break
					}
				}
				cancel()
				wg.Wait()
				t.Logf("Jain's index %.4f in %v; locks of each client: %v", jain(had), time.Since(start).Round(time.Millisecond), had)
				if got := jain(had); got < 0.97 {
					t.Errorf("Jain's index %.3f, want at least 0.97", got)
				}
				for _, clash := range l.clashes {
					t.Error("unsafe: two holders: ", clash)
				}
			})
		}
	}
}
