package tokens

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

const (
	clients = 32
	ttl     = 400 * time.Millisecond
	faulty  = 4 * time.Second // for how long servers are paused and killed
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
// a majority of them too, and holders are late.
func TestTokens(t *testing.T) {
	for _, n := range []int{3, 5} {
		for _, counters := range []string{"near the clocks", "ahead of the clocks"} {
			t.Run(fmt.Sprintf("N=%d, counters %s", n, counters), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithAOF())
				if counters == "ahead of the clocks" {
					ahead(t, list)
				}
				c := contention{start: time.Now()}
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
				pauses, kills := faults(t, list)
				cancel()
				wg.Wait()

				t.Logf("%d grants, %d of them late, and %d calls that failed; %d pauses, %d kills",
					len(c.grants), c.late, c.failed, pauses, kills)
				if len(c.grants) < clients || c.late == 0 || pauses == 0 || kills == 0 {
					t.Error("too little has happened for this to show anything")
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

	mu           sync.Mutex
	grants       []grant
	late, failed int
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
	switch fate {
	case 10:
		return
	case 40:
		time.Sleep(ttl + rand.N(ttl))
	default:
		time.Sleep(rand.N(2 * time.Millisecond)) // the work that the lock is for
	}
	lock.Unlock(context.WithoutCancel(ctx)) // it may be late, and servers may be down
}

// faults pauses and kills servers at random, mostly a minority at a time, and brings
// them back. They keep what they have acknowledged.
func faults(t *testing.T, list []*servers.Server) (pauses, kills int) {
	t.Helper()
	for start := time.Now(); time.Since(start) < faulty; {
		began := time.Now()
		n := 1 + rand.IntN(len(list)/2)
		if rand.IntN(4) == 0 {
			n = len(list)/2 + 1
		}
		for _, i := range rand.Perm(len(list))[:n] {
			if s := list[i]; 2*kills <= pauses {
				s.Kill(t)
				kills++
			} else {
				s.Pause(t)
				pauses++
			}
		}
		time.Sleep(rand.N(ttl / 2))
		for _, s := range list {
			s.Resume(t)
			s.Start(t)
		}
		time.Sleep(max(time.Since(began), ttl/2) + rand.N(ttl/2)) // all is well at least as long as not
	}
	return pauses, kills
}
