package waiting

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// excess returns the first moment at which more than n clients had a permit, or two had
// one slot, or "".
func excess(holds []hold, n int) string {
	count, slots := 0, make(map[string]string)
	for _, c := range changes(holds) {
		if !c.begins {
			count--
			delete(slots, c.slot)
			continue
		}
		if other, taken := slots[c.slot]; taken {
			return fmt.Sprintf("%s and %s have slot %s at %v", other, c.client, c.slot, c.at)
		}
		slots[c.slot] = c.client
		if count++; count > n {
			return fmt.Sprintf("%d clients have a permit at %v", count, c.at)
		}
	}
	return ""
}

// The checker finds one holder too many in a history, and two holders of one slot.
func TestExcess(t *testing.T) {
	permit := func(client, slot string, from, to int64) hold {
		return hold{client, slot, false, time.UnixMilli(from), time.UnixMilli(to)}
	}
	good := []hold{permit("a", "1", 0, 10), permit("b", "2", 0, 20), permit("c", "1", 10, 30), permit("d", "2", 20, 25)}
	for _, tc := range []struct {
		name    string
		planted []hold
		n       int
		bad     bool
	}{
		{"nothing wrong", nil, 2, false},
		{"one permit less", nil, 1, true},
		{"a third holder", []hold{permit("e", "3", 24, 25)}, 2, true},
		{"the same slot", []hold{permit("e", "1", 29, 31)}, 9, true},
		{"after all others", []hold{permit("e", "1", 30, 31)}, 2, false},
		{"a hold that was over at once", []hold{permit("e", "3", 24, 24), permit("f", "4", 24, 23)}, 2, false},
	} {
		if got := excess(append(slices.Clone(good), tc.planted...), tc.n); (got != "") != tc.bad {
			t.Errorf("%s: found %q", tc.name, got)
		}
	}
}

// permits acquires permits, holds each for about mean, and releases them until ctx ends. Of
// its waits it may cancel some.
func (c *client) permits(ctx context.Context, s *redlock.Semaphore, h *history, mean time.Duration, cancels bool) {
	for ctx.Err() == nil {
		wait, cancel := context.WithCancel(ctx)
		if cancels && rand.IntN(8) == 0 { // it gives up, unless it is faster
			time.AfterFunc(rand.N(4*mean), cancel)
		}
		asked := time.Now()
		permit, err := s.Acquire(wait)
		from := time.Now()
		h.waited(asked, from)
		cancel()
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.fail(err)
			}
			continue
		}
		c.mu.Lock()
		c.won++
		c.mu.Unlock()
		time.Sleep(mean/2 + rand.N(mean))
		to, until := time.Now(), permit.Until()
		if until.Before(to) {
			to = until
		}
		h.add(hold{c.label, permit.Key(), false, from, to})
		if err := permit.Unlock(context.WithoutCancel(ctx)); err != nil {
			c.fail(err)
		}
	}
}

// 32 clients of every adapter want 4 permits, while connections break, scripts are
// forgotten and a minority of servers hangs. There are never more than 4 holders, and no
// two of one slot. When the faults are over, all clients get permits.
func TestSemaphoreHolders(t *testing.T) {
	realServers(t, "CLIENT KILL")
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			const clients, most = 32, 4
			list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithoutReuse())
			all := newClients(t, newLog(), clients, addrsOf(list), redlock.WithTTL(2*time.Second))
			probe := newProbe(t, addrsOf(list))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			h := new(history)
			for _, c := range all {
				c.warm(ctx)
			}
			for _, c := range all {
				s := c.locker.Semaphore(key, most)
				wg.Go(func() { c.permits(ctx, s, h, 20*time.Millisecond, true) })
			}
			for i := range 20 {
				kill(t, list)
				list[i%n].FlushScripts(t)
				if n > 1 && i%4 == 0 {
					list[i/4%n].Pause(t)
					time.Sleep(200 * time.Millisecond)
					list[i/4%n].Resume(t)
				}
				time.Sleep(50 * time.Millisecond)
			}
			awaitMore(t, all, counts(all), time.Now(), lookAgain+2*time.Second, probe)
			cancel()
			wg.Wait()
			if why := excess(h.holds, most); why != "" {
				t.Error("unsafe: ", why)
			}
			if excess(h.holds, most-1) == "" {
				t.Errorf("of %d holds, never %d at the same time", len(h.holds), most)
			}
			first := h.holds[len(h.holds)/2]
			planted := append(slices.Clone(h.holds), hold{"planted", first.slot, false, first.from, first.to})
			if excess(planted, most) == "" {
				t.Error("a planted holder is not found")
			}
			t.Logf("%d holds, Jain's index %.3f", len(h.holds), jain(counts(all)))
			for _, c := range all {
				for _, err := range c.failures() {
					if !errors.Is(err, redlock.ErrNotHeld) && !errors.Is(err, redlock.ErrUnavailable) {
						t.Errorf("%s: %v", c.label, err)
					}
				}
			}
		})
	}
}

// 16 clients of every adapter get 4 permits about equally often, and no permit is idle for longer
// than a grace while one of them waits.
func TestSemaphoreFairness(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			const clients, most = 16, 4
			list := servers.Start(t, servers.Any, n)
			all := newClients(t, newLog(), clients, addrsOf(list))
			probe := newProbe(t, addrsOf(list))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			h := new(history)
			for _, c := range all {
				c.warm(ctx)
			}
			for _, c := range all {
				s := c.locker.Semaphore(key, most)
				wg.Go(func() { c.permits(ctx, s, h, 20*time.Millisecond, false) })
			}
			time.Sleep(500 * time.Millisecond) // until all of them are queued
			before, start, unused := counts(all), time.Now(), watchProcessors(t)
			var had []int
			for {
				time.Sleep(3 * time.Second)
				had = counts(all)
				total := 0
				for i := range had {
					had[i] -= before[i]
					total += had[i]
				}
				if total >= 1500 && slices.Min(had) >= 20 || time.Since(start) > 30*time.Second {
					break
				}
			}
			over, free := time.Now(), unused()
			cancel()
			wg.Wait()
			t.Logf("Jain's index %.4f in %v; permits of each client: %v", jain(had), over.Sub(start).Round(time.Millisecond), had)
			if got := jain(had); got < 0.97 {
				t.Errorf("Jain's index %.3f, want at least 0.97", got)
			}
			if why := excess(h.holds, most); why != "" {
				t.Error("unsafe: ", why)
			}
			checkIdle(t, h, most, probe, start, over, free)
		})
	}
}
