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
	trouble = 4 * time.Second // for how long servers are paused and killed, or longer on a slow machine
)

// ahead puts the counters of servers an hour ahead of their clocks, each somewhere else.
// No hint reaches them there: tokens rest on the counters alone.
func ahead(t testing.TB, list []*servers.Server) {
	t.Helper()
	hour := time.Now().Add(time.Hour).UnixMicro()
	for i, s := range list {
		s.Do(t, "SET", counter, hour+int64(10*i))
	}
}

// Tokens are unique and in order while servers are paused, killed and started again,
// a majority of them too, and holders are late. So they are while the servers' clocks are
// set, and then alone two may hold the lock at once.
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
					t.Error("too little has happened for this to show anything")
				}
				if !set && c.overlaps() > 0 {
					t.Error("two held the lock at once")
				}
				for _, s := range disorder(c.grants) {
					t.Error(s)
				}
			})
		}
	}
}

// A contention is what became of clients that want one lock.
type contention struct {
	start time.Time
	set   bool // the servers' clocks are

	mu           sync.Mutex
	grants       []grant
	holds        []hold
	late, failed int
}

// enough reports whether there were so many locks that the run shows something.
func (c *contention) enough() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.grants) >= clients && c.late > 0
}

// A hold is for how long a lock was somebody's: until it was unlocked, or over.
type hold struct{ from, to time.Duration }

// overlaps returns how many locks were granted while another one was held.
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

// lock locks once, and does with the lock what a client may do: mostly work and unlock,
// sometimes die, or come back when the lock has expired.
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
	case fate == 10 && !c.set: // it dies
		c.held(hold{got, over})
		return
	case fate == 10 || fate == 40: // where a clock was set back nobody else ends its lock
		time.Sleep(ttl + rand.N(ttl))
	default:
		time.Sleep(rand.N(2 * time.Millisecond)) // the work that the lock is for
	}
	c.held(hold{got, min(over, time.Since(c.start))})
	lock.Unlock(context.WithoutCancel(ctx)) // it may be late, and servers may be down
}

func (c *contention) held(h hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = append(c.holds, h)
}

// done is what was done to servers, and how often.
type done struct{ pauses, kills, ahead, back int }

// enough reports whether there was some of everything.
func (d done) enough(set bool) bool {
	return d.pauses > 0 && d.kills > 0 && (!set || d.ahead > 0 && d.back > 0)
}

// faults pauses and kills servers at random, mostly a minority at a time, and brings
// them back. They keep what they have acknowledged. It may set their clocks besides.
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
		time.Sleep(max(time.Since(began), ttl/2) + rand.N(ttl/2)) // all is well at least as long as not
	}
	return d
}

// wrong returns by how much a clock is ahead that somebody has set: from a second to
// eleven hours, or as much behind. Two such clocks are less than a day apart, beyond which
// counters are lost or refused.
func wrong() time.Duration {
	const most = 11 * time.Hour
	d := time.Duration(float64(time.Second) * math.Pow(most.Seconds(), rand.Float64()))
	if rand.IntN(2) == 0 {
		return -d
	}
	return d
}
