package waiting

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// While a lock is held for a long time, a waiter costs a server almost nothing, however many
// waiters there are.
func TestCommandsWhileWaiting(t *testing.T) {
	realServers(t, "INFO commandstats")
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			t.Parallel()
			few, many := newHeld(t, n, 3), newHeld(t, n, 33)
			time.Sleep(500 * time.Millisecond) // until all of them are queued
			fewBefore, manyBefore := few.commands(), many.commands()
			time.Sleep(5 * time.Second) // the hold
			fewEach, manyEach := few.commands()-fewBefore, many.commands()-manyBefore
			few.release()
			many.release()
			t.Logf("commands per waiter and node in 5 s: %.2f with %d waiters, %.2f with %d", fewEach, few.waiters, manyEach, many.waiters)
			if fewEach > 5 {
				t.Errorf("with few waiters, each costs %.1f commands in 5 s, want at most one a second", fewEach)
			}
			if most := 1.2 * fewEach; manyEach > most {
				t.Errorf("with many waiters, each costs %.1f commands, want at most %.1f", manyEach, most)
			}
		})
	}
}

// held is a lock that is held while clients of every adapter wait for it, on its own servers.
type held struct {
	t       testing.TB
	list    []*servers.Server
	waiters int
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	unlock  func(context.Context) error
}

func newHeld(t testing.TB, n, waiters int) *held {
	t.Helper()
	h := &held{t: t, list: servers.Start(t, servers.Any, n, servers.WithoutReuse()), waiters: waiters}
	l := newLog()
	holder := newClient(t, l, "holder", drivers.All[0], addrsOf(h.list), false)
	lock, err := holder.locker.Lock(t.Context(), key, redlock.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	h.unlock = lock.Unlock
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(t.Context())
	for _, c := range newClients(t, l, waiters, addrsOf(h.list)) {
		c.warm(ctx)
		h.wg.Go(func() { c.once(ctx, 0) })
	}
	return h
}

func (h *held) release() {
	h.t.Helper()
	h.cancel()
	h.wg.Wait()
	if err := h.unlock(h.t.Context()); err != nil {
		h.t.Error(err)
	}
}

// commands returns how many commands, including scripts, clients sent for that lock, per waiter
// and server.
func (h *held) commands() float64 {
	h.t.Helper()
	sum := 0
	for _, s := range h.list {
		for line := range strings.Lines(s.Do(h.t, "INFO", "commandstats").(string)) {
			name, stats, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch name {
			case "cmdstat_set", "cmdstat_eval", "cmdstat_evalsha":
				var calls int
				if _, err := fmt.Sscanf(stats, "calls=%d,", &calls); err != nil {
					h.t.Fatalf("%q: %v", line, err)
				}
				sum += calls
			}
		}
	}
	return float64(sum) / float64(h.waiters*len(h.list))
}
