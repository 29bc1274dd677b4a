package waiting

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A fault hits the servers while clients of every adapter compete for one lock. No gap is longer
// than the interval at which waiters look, and all clients get the lock.
func TestServerFaults(t *testing.T) {
	realServers(t, "CLIENT KILL and no restart")
	again := func(n int, pause time.Duration, f func()) {
		for range n {
			f()
			time.Sleep(pause)
		}
	}
	for _, test := range []struct {
		name   string
		n      int
		forget bool // the server forgets the holder, so two may hold the lock
		fault  func(t *testing.T, list []*servers.Server)
	}{
		{"inboxes cut, N=1", 1, false, func(t *testing.T, list []*servers.Server) {
			again(40, 30*time.Millisecond, func() { kill(t, list) })
		}},
		{"inboxes cut, N=3", 3, false, func(t *testing.T, list []*servers.Server) {
			again(40, 30*time.Millisecond, func() { kill(t, list) })
		}},
		{"scripts flushed, N=3", 3, false, func(t *testing.T, list []*servers.Server) {
			again(60, 10*time.Millisecond, func() {
				for _, s := range list {
					s.FlushScripts(t)
				}
			})
		}},
		{"one of three restarts", 3, true, func(t *testing.T, list []*servers.Server) { list[1].Restart(t) }},
		{"the only one restarts", 1, true, func(t *testing.T, list []*servers.Server) { list[0].Restart(t) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			const (
				clients = 12
				ttl     = 2 * time.Second
			)
			list := servers.Start(t, servers.Any, test.n, servers.WithOutages(), servers.WithoutReuse())
			l := newLog()
			all := newClients(t, l, clients, addrsOf(list), redlock.WithTTL(ttl))
			probe := newProbe(t, addrsOf(list))
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for _, c := range all {
				c.warm(ctx)
			}
			for _, c := range all {
				wg.Go(func() { c.loop(ctx, 5*time.Millisecond) })
			}
			time.Sleep(500 * time.Millisecond) // until all of them are subscribed
			var faulty []int                   // how often each had the lock when the fault was over
			var over time.Time
			gaps := l.during(func() {
				test.fault(t, list)
				over = time.Now()
				faulty = counts(all)
				time.Sleep(500 * time.Millisecond) // until a gap caused by the fault has ended
			})
			awaitMore(t, all, faulty, over, lookAgain+ttl, probe)
			cancel()
			wg.Wait()

			// Waiters cannot end a gap in which a server was down.
			var longest gap
			for _, g := range gaps {
				if g.length() > longest.length() {
					longest = g
				}
			}
			t.Logf("longest gap while a client waited: %v, of %d", longest.length().Round(time.Millisecond), len(gaps))
			for _, d := range drivers.All {
				var most time.Duration
				won := 0
				for _, c := range all {
					if c.driver.Name == d.Name {
						most = max(most, slices.Max(append(c.waits, 0)))
						won += c.won
					}
				}
				t.Logf("%s: had the lock %d times, and waited for at most %v", d.Name, won, most.Round(time.Millisecond))
			}
			if test.n > 1 || !test.forget {
				if d := longest.length() - probe.stalled(longest.from, longest.to); d > lookAgain {
					t.Errorf("the lock was free while a client waited: %v, want at most %v", d, lookAgain)
				}
			}
			if !test.forget {
				for _, clash := range l.clashes {
					t.Error("unsafe: two holders: ", clash)
				}
			}
		})
	}
}

// kill cuts every subscription.
func kill(t testing.TB, list []*servers.Server) {
	t.Helper()
	for _, s := range list {
		s.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
	}
}

// counts returns how often each client has had the lock.
func counts(all []*client) []int {
	var list []int
	for _, c := range all {
		list = append(list, c.count())
	}
	return list
}

// awaitMore waits until each client has had the lock more often than before. It fails the test if
// that takes longer than within from start, without the time for which the machine stood still.
func awaitMore(t testing.TB, all []*client, before []int, start time.Time, within time.Duration, p *probe) {
	t.Helper()
	const patience = time.Minute
	for i, c := range all {
		for c.count() == before[i] && time.Since(start) < patience {
			time.Sleep(time.Millisecond) // the pause between two checks
		}
		if c.count() == before[i] {
			t.Errorf("%s with %s has not had the lock again for %v; errors: %v", c.label, c.driver.Name, patience, c.failures())
			return
		}
	}
	took := time.Since(start)
	stalled := p.stalled(start, time.Now())
	t.Logf("all had the lock again after %v, including %v for which the machine stood still", took.Round(time.Millisecond), stalled.Round(time.Millisecond))
	if took-stalled > within {
		t.Errorf("it took %v until all had the lock again, want at most %v", took-stalled, within)
	}
}
