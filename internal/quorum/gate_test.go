package quorum

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// A gate lets so many through, the newest and the oldest of the others by turns, and
// whoever does not wait any more is passed over.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{trip: func() time.Duration { return 0 }}
		for range fewReleases {
			if !g.enter(t.Context(), time.Now()) {
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
				if g.enter(c, time.Now()) {
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
		if g.inside != 0 || g.waiting != 0 {
			t.Errorf("%d are inside and %d wait in the end", g.inside, g.waiting)
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
		for g.enter(ctx, time.Now()) {
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
		g := &gate{trip: func() time.Duration { return 0 }}
		var (
			mu  sync.Mutex
			own []int // what came through, in order: 1 for a lock held for a moment
			all sync.WaitGroup
		)
		unlock := func(kind int, held time.Duration) {
			since := time.Now().Add(-held)
			all.Go(func() {
				g.enter(t.Context(), since)
				mu.Lock()
				defer mu.Unlock()
				own = append(own, kind)
			})
			synctest.Wait() // so that they come in this order
		}
		for range fewReleases {
			g.enter(t.Context(), time.Now())
		}
		for i := range 200 {
			unlock(0, 40*time.Second)
			if i == 100 {
				unlock(1, 2*time.Millisecond)
			}
		}
		for range 200 + 1 {
			g.leave()
			synctest.Wait()
		}
		all.Wait()
		if at := slices.Index(own, 1); at > 1 {
			t.Errorf("%d locks that were held for long came before one that was held for a moment, want 1 at most", at)
		}
		for range fewReleases {
			g.leave()
		}
		if g.inside != 0 || g.waiting != 0 {
			t.Errorf("%d are inside and %d wait in the end", g.inside, g.waiting)
		}
	})
}

// A gate does not let more through because the node is slow under what it has to do.
func TestGateOfBusyNode(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		pair := func(i int, takes time.Duration) {
			w.fault[0].Set(faulty.Delay(takes))
			a, res := w.group.Acquire(t.Context(), "k", fmt.Sprint("t", i), ttl, timeout)
			if res.Verdict != Won {
				t.Fatal(res)
			}
			a.Release(t.Context(), timeout)
		}
		pair(0, 0)
		for i := range 20 {
			pair(1+i, 100*time.Millisecond)
		}
		if got := w.group.releases.limit(); got > fewReleases {
			t.Errorf("%d releases at a time, want %d: the node is near", got, fewReleases)
		}
		time.Sleep(2 * time.Minute) // by now what was short is forgotten
		for i := range 3 {
			pair(100+i, 10*time.Millisecond)
			time.Sleep(time.Minute)
		}
		if got := w.group.releases.limit(); got != 1000 {
			t.Errorf("%d releases at a time with a node that is 10ms away, want 1000", got)
		}
	})
}
