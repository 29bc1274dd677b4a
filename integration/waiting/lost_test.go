package waiting

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// 64 clients compete for one lock while they are killed, cancelled, frozen and slowed down at
// random. The lock is almost never free while a client waits. If it is, the cause is a fault of a
// client. If a reservation is not used, two waiters know; so a gap may be long if all three have
// faults.
func TestNoLostWakeUp(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			const (
				clients = 64
				lasts   = 10 * time.Second
				hold    = time.Millisecond
				ttl     = 2 * time.Second
				graces  = 3 // so many graces may a gap last, except once in a thousand gaps
			)
			list := servers.Start(t, servers.Any, n, servers.WithoutReuse())
			addrs := addrsOf(list)
			s := &storm{t: t, addrs: addrs, hold: hold, ttl: ttl, log: newLog(), done: map[string]int{}}
			for i := range clients {
				// With several nodes, a small machine cannot run a proxy per node and client, so
				// only some clients get every kind of fault.
				proxied := n == 1 || i%4 == 0
				s.clients = append(s.clients, newClient(t, s.log, label(i), drivers.All[i%len(drivers.All)], addrs, proxied, redlock.WithTTL(ttl)))
			}
			probe := newProbe(t, addrs)

			ctx, cancel := context.WithCancel(t.Context())
			s.ctx = ctx
			for _, c := range s.clients {
				c.warm(ctx)
			}
			for _, c := range s.clients {
				s.wg.Go(func() { c.loop(ctx, hold) })
			}
			time.Sleep(time.Second) // until all of them are subscribed
			start := time.Now()
			control := newReport(s.log, probe, s.log.during(func() { time.Sleep(lasts / 4) }))
			r := newReport(s.log, probe, s.log.during(func() { s.causeFaults(lasts) }))
			over := time.Now()
			stalled := probe.stalled(start, over)
			awaitMore(t, s.clients, counts(s.clients), time.Now(), ttl+lookAgain, probe)
			cancel()
			s.wg.Wait()

			t.Logf("%d clients, N=%d, for %v: %s", clients, n, lasts, s)
			t.Log("gaps without faults: ", control)
			t.Log("gaps: ", r)
			for _, clash := range s.log.clashes {
				t.Error("unsafe: two holders: ", clash)
			}
			if stalled > over.Sub(start)/4 {
				t.Skipf("the machine stood still for %v of %v, so no duration is checked", stalled.Round(time.Millisecond), over.Sub(start).Round(time.Millisecond))
			}
			for what, got := range map[string]int{"without faults": len(control.gaps), "with faults": len(r.gaps)} {
				if got < 100 { // usually thousands
					t.Errorf("%d gaps %s; want at least 100, so that the test proves something", got, what)
				}
			}
			for _, what := range faults {
				if s.done[what] == 0 {
					t.Errorf("no client was %s; want some, so that the test proves something", what)
				}
			}
			var handOff time.Duration
			if d := control.percentile(99); d > usual {
				handOff = d
				t.Logf("without faults, a handover takes up to %v on this machine, which is subtracted", d)
			}
			if handOff > graces*grace {
				t.Errorf("gaps without faults: p99 %v, want at most %v", handOff, graces*grace)
			}
			r.print(t, graces, handOff)
			if got, most := r.longer(graces, handOff), 1+len(r.gaps)/1000; got > most {
				t.Errorf("%d of %d gaps last longer than %d graces, want at most %d", got, len(r.gaps), graces, most)
			}
			for _, why := range r.unexplained(graces, handOff) {
				t.Error("a gap without a fault that explains it: ", why)
			}
		})
	}
}

// A storm causes faults of clients that compete for one lock.
type storm struct {
	t     testing.TB
	addrs []string
	hold  time.Duration
	ttl   time.Duration
	log   *log
	ctx   context.Context

	clients []*client
	made    int // number of clients in addition to the first ones
	done    map[string]int
	wg      sync.WaitGroup
}

func (s *storm) String() string {
	kinds := slices.Sorted(func(yield func(string) bool) {
		for what := range s.done {
			if !yield(what) {
				return
			}
		}
	})
	var parts []string
	for _, what := range kinds {
		parts = append(parts, fmt.Sprintf("%d %s", s.done[what], what))
	}
	return strings.Join(parts, ", ")
}

// faults lists the possible faults of a client. Likelier ones occur more than once.
var faults = []string{"killed", "cancelled", "cancelled", "cancelled", "frozen", "frozen", "slowed", "slowed"}

// causeFaults causes a fault of a waiting client every 20 ms or so.
func (s *storm) causeFaults(lasts time.Duration) {
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		time.Sleep(10*time.Millisecond + rand.N(20*time.Millisecond))
		what := faults[rand.N(len(faults))]
		i := rand.N(len(s.clients))
		for what != "cancelled" && s.clients[i].proxies == nil {
			i = rand.N(len(s.clients))
		}
		c := s.clients[i]
		if !s.log.waitsWithoutFault(c) {
			continue
		}
		s.done[what]++
		switch what {
		case "killed":
			s.log.faultBegins(c, what, false)
			s.wg.Go(c.die)
			s.made++
			next := newClient(s.t, s.log, label(len(s.clients)+s.made), c.driver, s.addrs, true, redlock.WithTTL(s.ttl))
			s.clients[i] = next
			s.wg.Go(func() { next.warm(s.ctx); next.loop(s.ctx, s.hold) })
		case "cancelled":
			s.log.givesUp(c)
			c.giveUp()
		case "frozen":
			s.log.faultBegins(c, what, false)
			c.hold()
			s.later(20*time.Millisecond+rand.N(500*time.Millisecond), c, c.resume)
		case "slowed":
			s.log.faultBegins(c, what, true)
			c.slow(time.Millisecond + rand.N(15*time.Millisecond))
			s.later(100*time.Millisecond+rand.N(400*time.Millisecond), c, func() { c.slow(0) })
		}
	}
}

// later ends a fault of c by end.
func (s *storm) later(d time.Duration, c *client, end func()) {
	s.wg.Go(func() {
		time.Sleep(d)
		end()
		s.log.faultEnds(c)
	})
}

// The detector of gaps finds one that is planted, and its cause.
func TestGapsAreFound(t *testing.T) {
	const (
		graces = 3
		length = 4 * graces * grace
	)
	for _, tc := range []struct {
		name        string
		fault       string // of a client that has the lock on the server meanwhile
		stalled     bool   // the server does not answer meanwhile
		unexplained int
		longer      int
	}{
		{"nobody has the lock", "", false, 1, 1},
		{"a dead client has the lock", "killed", false, 0, 0},
		{"the server stands still", "", true, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog()
				holder, waiter := &client{label: "holder"}, &client{label: "waiter"}
				p := &probe{watch: stall.Begin(), views: []view{{time.Now(), make([]owner, 1)}}}
				gaps := l.during(func() {
					l.waits(holder)
					l.holds(holder, time.Now().Add(time.Hour))
					l.waits(waiter)
					p.sees(0, owner{label: "holder"}, time.Now())
					time.Sleep(time.Second)
					l.releases(holder)
					p.sees(0, owner{}, time.Now())
					if tc.fault != "" {
						dead := &client{label: "dead"}
						l.waits(dead)
						l.faultBegins(dead, tc.fault, false)
						p.sees(0, owner{label: "dead"}, time.Now())
					}
					asked := time.Now()
					time.Sleep(length)
					if !tc.stalled {
						asked = time.Now()
					}
					p.sees(0, owner{label: "waiter"}, asked)
					l.holds(waiter, time.Now().Add(time.Hour))
				})
				p.watch.End()
				r := newReport(l, p, gaps)
				if len(r.gaps) == 0 {
					t.Fatal("no gap is found")
				}
				if got := r.gaps[len(r.gaps)-1].length(); got != length {
					t.Errorf("the longest gap lasts %v, want %v", got, length)
				}
				if why := r.unexplained(graces, 0); len(why) != tc.unexplained {
					t.Errorf("%d gaps without a cause, want %d: %v", len(why), tc.unexplained, why)
				}
				if got := r.longer(graces, 0); got != tc.longer {
					t.Errorf("%d gaps are longer than %d graces, want %d", got, graces, tc.longer)
				}
			})
		})
	}
}
