package waiting

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// 64 clients want one lock, again and again, while they are killed, cancelled,
// frozen and slowed at random: the lock is hardly ever free while one of them
// waits. Where it was, that is because of what had befallen one of them.
func TestNoLostWakeUp(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			const (
				clients = 64
				lasts   = 10 * time.Second
				hold    = time.Millisecond
				ttl     = 2 * time.Second
				graces  = 3 // for which the lock may be free and waited for, but once in a thousand times
			)
			list := servers.Start(t, servers.Any, n, servers.WithoutReuse())
			addrs := addrsOf(list)
			s := &storm{t: t, addrs: addrs, hold: hold, ttl: ttl, log: newLog(), done: map[string]int{}}
			for i := range clients {
				// With several nodes a proxy for each is more than a small machine can
				// bear, so not everything can befall everybody.
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
			time.Sleep(time.Second) // for all of them to listen
			start := time.Now()
			control := newReport(s.log, probe, s.log.during(func() { time.Sleep(lasts / 4) }))
			r := newReport(s.log, probe, s.log.during(func() { s.rage(lasts) }))
			over := time.Now()
			stalled := probe.stalled(start, over)
			awaitMore(t, s.clients, counts(s.clients), time.Now(), ttl+lookAgain, probe)
			cancel()
			s.wg.Wait()

			t.Logf("%d clients, N=%d, for %v: %s", clients, n, lasts, s)
			t.Log("free and waited for, with nothing of that: ", control)
			t.Log("free and waited for: ", r)
			for _, clash := range s.log.clashes {
				t.Error("two holders: ", clash)
			}
			if stalled > over.Sub(start)/4 {
				t.Logf("the machine stood still for %v of %v: nothing is claimed of how long anything took", stalled.Round(time.Millisecond), over.Sub(start).Round(time.Millisecond))
				return
			}
			var handOff time.Duration
			if d := control.percentile(99); d > usual {
				handOff = d
				t.Logf("a hand-off takes up to %v on this machine even so, which is left out", d)
			}
			if handOff > graces*grace {
				t.Errorf("the lock was free and waited for, with nothing that befell anybody: p99 %v, want at most %v", handOff, graces*grace)
			}
			r.print(t, graces, handOff)
			if got := r.graces(99.9, handOff); got > graces {
				t.Errorf("the lock was free and waited for: p99.9 %.1f times the grace, want at most %v", got, graces)
			}
			for _, why := range r.unexplained(graces, handOff) {
				t.Error("free and waited for, and nothing had befallen anybody: ", why)
			}
		})
	}
}

// A storm is what befalls clients that want one lock.
type storm struct {
	t     testing.TB
	addrs []string
	hold  time.Duration
	ttl   time.Duration
	log   *log
	ctx   context.Context

	clients []*client
	made    int // clients beside the first ones
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

// faults is what may befall a client, the likelier ones more than once.
var faults = []string{"killed", "cancelled", "cancelled", "cancelled", "frozen", "frozen", "slowed", "slowed"}

// rage has something befall a client that waits, every 20 ms or so.
func (s *storm) rage(lasts time.Duration) {
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		time.Sleep(10*time.Millisecond + rand.N(20*time.Millisecond))
		what := faults[rand.N(len(faults))]
		i := rand.N(len(s.clients))
		for what != "cancelled" && s.clients[i].proxies == nil {
			i = rand.N(len(s.clients))
		}
		c := s.clients[i]
		if !s.log.waitsUnharmed(c) {
			continue
		}
		s.done[what]++
		switch what {
		case "killed":
			s.log.befalls(c, what, false)
			s.wg.Go(c.die)
			s.made++
			next := newClient(s.t, s.log, label(len(s.clients)+s.made), c.driver, s.addrs, true, redlock.WithTTL(s.ttl))
			s.clients[i] = next
			s.wg.Go(func() { next.warm(s.ctx); next.loop(s.ctx, s.hold) })
		case "cancelled":
			c.giveUp()
		case "frozen":
			s.log.befalls(c, what, false)
			c.hold()
			s.later(20*time.Millisecond+rand.N(500*time.Millisecond), c, c.resume)
		case "slowed":
			s.log.befalls(c, what, true)
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
		s.log.passes(c)
	})
}
