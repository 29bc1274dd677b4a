package quorum

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A gate lets so many through, the newest and the oldest of the others by turns, and
// whoever does not wait any more is passed over.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{trip: func() time.Duration { return 0 }}
		for range fewReleases {
			if !g.enter(t.Context()) {
				t.Fatal("there is no place")
			}
		}
		var (
			mu    sync.Mutex
			order []int
			all   sync.WaitGroup
		)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 6 {
			all.Go(func() {
				c := t.Context()
				if i == 5 || i == 1 {
					c = ctx
				}
				if g.enter(c) {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
				}
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		for range 4 {
			g.leave()
			synctest.Wait()
		}
		all.Wait()
		if want := []int{0, 4, 2, 3}; len(order) != 4 || order[0] != want[0] || order[1] != want[1] || order[2] != want[2] || order[3] != want[3] {
			t.Errorf("let through in the order %v, want %v", order, want)
		}
		for range fewReleases {
			g.leave()
		}
		if g.inside != 0 || len(g.waiting) != 0 {
			t.Errorf("%d are inside and %d wait in the end", g.inside, len(g.waiting))
		}
	})
}

// Where a round trip is long, more releases are under way.
func TestGateOfFarNodes(t *testing.T) {
	for trip, want := range map[time.Duration]int{0: fewReleases, 10 * time.Millisecond: 1000, time.Second: manyReleases} {
		g := &gate{trip: func() time.Duration { return trip }}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		inside := 0
		for g.enter(ctx) {
			inside++
		}
		if inside != want {
			t.Errorf("%d releases at a time with a round trip of %v, want %d", inside, trip, want)
		}
	}
}
