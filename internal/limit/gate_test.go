package limit

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A gate lets so many through, the newest and the oldest of the others by turns, and
// whoever does not wait any more is passed over.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(func() time.Duration { return 0 })
		for range fewReleases {
			if !g.Enter(t.Context(), time.Now()) {
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
				if g.Enter(c, time.Now()) {
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
			g.Leave()
			synctest.Wait()
		}
		all.Wait()
		if want := []int{0, 4, 2, 3}; len(order) != 4 || order[0] != want[0] || order[1] != want[1] || order[2] != want[2] || order[3] != want[3] {
			t.Errorf("let through in the order %v, want %v", order, want)
		}
		for range fewReleases {
			g.Leave()
		}
		if g.inside.Load() != 0 || g.waiting.Load() != 0 {
			t.Errorf("%d are inside and %d wait in the end", g.inside.Load(), g.waiting.Load())
		}
	})
}

// Where a round trip is long, more releases are under way.
func TestGateOfFarNodes(t *testing.T) {
	for trip, want := range map[time.Duration]int{0: fewReleases, 10 * time.Millisecond: 1000, time.Second: manyReleases} {
		g := NewGate(func() time.Duration { return trip })
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		inside := 0
		for g.Enter(ctx, time.Now()) {
			inside++
		}
		if inside != want {
			t.Errorf("%d releases at a time with a round trip of %v, want %d", inside, trip, want)
		}
	}
}

// A lock that was held for a moment does not wait behind all those that were held for
// long, whether these came before it or after it.
func TestGateClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(func() time.Duration { return 0 })
		var (
			mu  sync.Mutex
			own []int // what came through, in order: 1 for a lock held for a moment
			all sync.WaitGroup
		)
		unlock := func(kind int, held time.Duration) {
			since := time.Now().Add(-held)
			all.Go(func() {
				g.Enter(t.Context(), since)
				mu.Lock()
				defer mu.Unlock()
				own = append(own, kind)
			})
			synctest.Wait() // so that they come in this order
		}
		for range fewReleases {
			g.Enter(t.Context(), time.Now())
		}
		for i := range 200 {
			unlock(0, 40*time.Second)
			if i == 100 {
				unlock(1, 2*time.Millisecond)
			}
		}
		for range 200 + 1 {
			g.Leave()
			synctest.Wait()
		}
		all.Wait()
		if at := slices.Index(own, 1); at > 1 {
			t.Errorf("%d locks that were held for long came before one that was held for a moment, want 1 at most", at)
		}
		for range fewReleases {
			g.Leave()
		}
		if g.inside.Load() != 0 || g.waiting.Load() != 0 {
			t.Errorf("%d are inside and %d wait in the end", g.inside.Load(), g.waiting.Load())
		}
	})
}

// A caller that finds no place must not miss one that becomes free at the same moment,
// because nobody may come after it. There are never more inside than allowed.
func TestGateConcurrently(t *testing.T) {
	g := NewGate(func() time.Duration { return 0 })
	for range fewReleases - 1 {
		g.Enter(t.Context(), time.Now())
	}
	var inside, missed atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 20_000 {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if !g.Enter(ctx, time.Now()) {
					missed.Add(1)
					return
				}
				if inside.Add(1) > 1 {
					t.Error("more are inside than allowed")
				}
				inside.Add(-1)
				g.Leave()
			})
		}
		all.Wait()
		if missed.Load() > 0 {
			t.Fatal("a caller waits although there is a place")
		}
	}
}
