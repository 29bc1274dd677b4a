package tokens

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

const (
	clients = 32
	ttl     = 400 * time.Millisecond
	trouble = 4 * time.Second // how long servers are paused and killed; longer on a slow machine
)

// ahead sets the counters of servers about an hour ahead of their clocks, each to another value.
// No hint reaches them there, so tokens depend on the counters alone.
func ahead(t testing.TB, list []*servers.Server) {
	t.Helper()
	hour := time.Now().Add(time.Hour).UnixMicro()
	for i, s := range list {
		s.Do(t, "SET", counter, hour+int64(10*i))
	}
}

// Tokens are unique and in order while servers are paused, killed and restarted, even a majority
// of them, and while holders are late. They are also in order while the servers' clocks are set.
// Only then may two clients hold the lock at once.
func TestTokens(t *testing.T) {
	for _, n := range []int{3, 5} {
		for _, kind := range []string{"counters near the clocks", "counters ahead of the clocks", "clocks that are set"} {
			t.Run(fmt.Sprintf("N=%d, %s", n, kind), func(t *testing.T) {
				set := kind == "clocks that are set"
				opts := []servers.Option{servers.WithOutages(), servers.WithAOF()}
				if set {
					opts = append(opts, servers.WithClock())
				}
				list := servers.Start(t, servers.Any, n, opts...)
				if kind == "counters ahead of the clocks" {
					ahead(t, list)
				}
				c := contention{start: time.Now(), set: set}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				for i := range clients {
					locker := newLocker(t, list, i, redlock.WithTTL(ttl))
					wg.Go(func() {
						for ctx.Err() == nil {
							c.lock(ctx, locker)
						}
					})
				}
				f := faults(t, list, set, c.enough)
				cancel()
				wg.Wait()

				t.Logf("%d grants, %d of them late, %d while another was valid, and %d calls that failed; %+v",
					len(c.grants), c.late, c.overlaps(), c.failed, f)
				if !c.enough() || !f.enough(set) {
					t.Error("too little has happened for the test to prove anything")
				}
				if !set && c.overlaps() > 0 {
					t.Error("unsafe: two clients held the lock at once")
				}
				for _, s := range disorder(c.grants) {
					t.Error("unsafe: ", s)
				}
			})
		}
	}
}

// A contention records the results of clients that compete for one lock.
type contention struct {
	start time.Time
	set   bool // whether the servers' clocks are set

	mu           sync.Mutex
	grants       []grant
	holds        []hold
	late, failed int
}

// enough reports whether there were enough locks for the run to prove something.
func (c *contention) enough() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.grants) >= clients && c.late > 0
}

// A hold is the time for which a lock was held: until it was unlocked or ended.
type hold struct{ from, to time.Duration }

// overlaps returns the number of locks that were granted while another one was held.
func (c *contention) overlaps() int {
	slices.SortFunc(c.holds, func(a, b hold) int { return cmp.Compare(a.from, b.from) })
	n := 0
	var last time.Duration
	for _, h := range c.holds {
		if h.from < last {
			n++
		}
		last = max(last, h.to)
	}
	return n
}

// lock locks once, and does what a client may do with the lock. Usually it works and unlocks.
// Sometimes it dies, or continues after the lock has expired.
func (c *contention) lock(ctx context.Context, locker *redlock.Locker) {
	asked := time.Since(c.start)
	lock, err := locker.Lock(ctx, key)
	got := time.Since(c.start)
	c.mu.Lock()
	fate := len(c.grants) % 60
	switch {
	case err == nil:
		c.grants = append(c.grants, grant{asked, got, lock.Fence()})
		if fate == 10 || fate == 40 {
			c.late++
		}
	case ctx.Err() == nil:
		c.failed++
	}
	c.mu.Unlock()
	if err != nil {
		return
	}
	over := lock.Until().Sub(c.start)
	switch {
	case fate == 10 && !c.set: // the client dies
		c.held(hold{got, over})
		return
	case fate == 10 || fate == 40: // if a clock was set back, nobody else ends its lock
		time.Sleep(ttl + rand.N(ttl))
	default:
		time.Sleep(rand.N(2 * time.Millisecond)) // the work under the lock
	}
	c.held(hold{got, min(over, time.Since(c.start))})
	lock.Unlock(context.WithoutCancel(ctx)) // it may be late, and servers may be down
}

func (c *contention) held(h hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = append(c.holds, h)
}

// done counts what was done to servers.
type done struct{ pauses, kills, ahead, back int }

// enough reports whether everything was done at least once.
func (d done) enough(set bool) bool {
	return d.pauses > 0 && d.kills > 0 && (!set || d.ahead > 0 && d.back > 0)
}

// faults pauses and kills servers at random, usually a minority at a time, and brings them back.
// They keep what they have acknowledged. In addition, it may set their clocks.
func faults(t *testing.T, list []*servers.Server, set bool, enough func() bool) (d done) {
	t.Helper()
	offsets := make([]time.Duration, len(list))
	start := time.Now()
	for time.Since(start) < trouble || !(enough() && d.enough(set)) && time.Since(start) < 10*trouble {
		began := time.Now()
		n := 1 + rand.IntN(len(list)/2)
		if rand.IntN(4) == 0 {
			n = len(list)/2 + 1
		}
		for _, i := range rand.Perm(len(list))[:n] {
			if s := list[i]; 2*d.kills <= d.pauses {
				s.Kill(t)
				d.kills++
			} else {
				s.Pause(t)
				d.pauses++
			}
		}
		time.Sleep(rand.N(ttl / 2))
		for i, s := range list {
			if set && rand.IntN(2) == 0 {
				to := wrong()
				if to > offsets[i] {
					d.ahead++
				} else {
					d.back++
				}
				s.StepClock(t, to-offsets[i])
				offsets[i] = to
			}
			s.Resume(t)
			s.Start(t)
		}
		time.Sleep(max(time.Since(began), ttl/2) + rand.N(ttl/2)) // the time without faults is at least as long as the time with faults
	}
	return d
}

// wrong returns a random offset for a clock: from a second to eleven hours, ahead or behind. Two
// such clocks differ by less than a day. With a greater difference, counters are lost or
// rejected.
func wrong() time.Duration {
	const most = 11 * time.Hour
	d := time.Duration(float64(time.Second) * math.Pow(most.Seconds(), rand.Float64()))
	if rand.IntN(2) == 0 {
		return -d
	}
	return d
}
