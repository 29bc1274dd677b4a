package behaviour

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Many clients lock overlapping sets of keys in random orders, with each adapter and with all of
// them mixed, while servers hang and restart. They exclude each other on each key, nobody waits
// for ever, and nothing stays behind. The flag -lockall makes each case last longer.
func TestLockAll(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithoutReuse())
			eachAdapter(t, func(t *testing.T, a adapter) {
				lockAll(t, list, func(int) *redlock.Locker { return a.locker(t, addrs(list), redlock.WithTTL(3*time.Second)) })
			})
			t.Run("mixed", func(t *testing.T) {
				lockAll(t, list, func(client int) *redlock.Locker {
					nodes := make([]backend.Node, n)
					for i, s := range list {
						nodes[i] = drivers.All[(client+i)%len(drivers.All)].Node(t, s.Addr())
					}
					return newLocker(t, nodes, redlock.WithTTL(3*time.Second))
				})
			})
		})
	}
}

const (
	lockAllClients = 32
	lockAllTurns   = 6               // of each client, at least
	lockAllLimit   = 2 * time.Minute // a few times what these take on a slow machine
)

var lockAllTime = flag.Duration("lockall", 0, "in TestLockAll, clients go on for `this long` in each case")

func lockAll(t *testing.T, list []*servers.Server, locker func(client int) *redlock.Locker) {
	ctx, cancel := context.WithTimeout(t.Context(), *lockAllTime+lockAllLimit)
	defer cancel()
	var inside [8]atomic.Int32
	var turns, lost, longest atomic.Int64
	start := time.Now()
	var clients sync.WaitGroup
	lockers := make([]*redlock.Locker, lockAllClients/4)
	for i := range lockers {
		lockers[i] = locker(i)
	}
	for client := range lockAllClients {
		l := lockers[client%len(lockers)]
		clients.Go(func() {
			for turn := 0; turn < lockAllTurns || time.Since(start) < *lockAllTime; turn++ {
				asked := time.Now()
				some := rand.Perm(len(inside))[:1+rand.IntN(4)]
				keys := make([]string, len(some))
				for i, k := range some {
					keys[i] = fmt.Sprint("key ", k)
				}
				err := l.DoAll(ctx, keys, func(ctx context.Context) error {
					turns.Add(1)
					for waited, most := int64(time.Since(asked)), longest.Load(); waited > most && !longest.CompareAndSwap(most, waited); {
						most = longest.Load()
					}
					for _, k := range some {
						if inside[k].Add(1) > 1 {
							t.Errorf("unsafe: two clients have key %d", k)
						}
						defer inside[k].Add(-1)
					}
					select {
					case <-time.After(time.Duration(rand.Int64N(int64(4 * time.Millisecond)))):
					case <-ctx.Done(): // before anybody else can have the keys
					}
					return nil
				}, redlock.WithPatience(redlock.Forever))
				switch {
				case errors.Is(err, redlock.ErrNotHeld):
					lost.Add(1) // an outage was longer than the TTL
				case err != nil:
					t.Errorf("%q: %v", keys, err)
					return
				}
			}
		})
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		trouble(t, list, stop)
	}()
	clients.Wait()
	close(stop)
	<-done
	if want := int64(lockAllClients * lockAllTurns); turns.Load() < want {
		t.Errorf("%d turns, want at least %d", turns.Load(), want)
	}
	t.Logf("%d turns in %v, %d lost their keys, the longest wait was %v", turns.Load(), time.Since(start).Round(time.Second), lost.Load(), time.Duration(longest.Load()))
	for _, l := range lockers {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	servers.WaitEmpty(t, 5*time.Second, list...)
}

// trouble stops a server for a moment, one after the other, until stop is closed.
func trouble(t *testing.T, list []*servers.Server, stop <-chan struct{}) {
	for i := 0; ; i++ {
		s := list[i%len(list)]
		select {
		case <-stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		s.Pause(t)
		time.Sleep(100 * time.Millisecond) // the length of the outage
		s.Resume(t)
	}
}
