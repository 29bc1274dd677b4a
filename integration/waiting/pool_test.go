package waiting

import (
	"context"
	"testing"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// smallPool returns a redigo pool for that many connections.
func smallPool(s *servers.Server, most int, wait bool) *redigodriver.Pool {
	return &redigodriver.Pool{
		MaxIdle: most, MaxActive: most, Wait: wait,
		DialContext: func(ctx context.Context) (redigodriver.Conn, error) {
			return redigodriver.DialContext(ctx, "tcp", s.Addr())
		},
	}
}

// Many Lockers share a pool of two connections. All inboxes share one of them, so that every
// waiter is notified, in order.
func TestManyLockersOnASmallPool(t *testing.T) {
	const lockers = 20
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		s := servers.Start(t, kind, 1)[0]
		pool := smallPool(s, 2, true)
		node := drivers.Redigo(t, pool) // closes the pool
		others := []*redlock.Locker{newLocker(t, []backend.Node{node})}
		for range lockers - 1 {
			others = append(others, newLocker(t, []backend.Node{drivers.Redigo(t, pool)}))
		}
		held, err := others[0].Lock(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, lockers)
		for _, l := range others {
			go func() { results <- lockAndUnlock(t.Context(), l, key) }()
		}
		waitQueued(t, s, key, lockers)
		watch := stall.Begin()
		start := time.Now()
		if err := held.Unlock(t.Context()); err != nil {
			t.Error("the holder: ", err)
		}
		for range lockers {
			if err := <-results; err != nil {
				t.Error("one of many: ", err)
			}
		}
		end := time.Now()
		watch.End()
		within(t, "the turns of all", end.Sub(start)-watch.Within(start, end), 0, time.Second)
		servers.WaitEmpty(t, time.Second, s)
	})
}

// Workers of the application block connections of the same pool. They leave one, or two if the
// pool does not wait, because two commands may need one each at the same time. Locks are
// acquired, waited for and released on the remaining connections.
func TestBlockedPool(t *testing.T) {
	s := servers.Start(t, servers.Any, 1)[0]
	for name, workers := range map[string]int{"that waits": 4, "that does not wait": 3} {
		t.Run(name, func(t *testing.T) {
			wait := workers == 4
			pool := smallPool(s, 5, wait)
			first := newPeer(t, []backend.Node{drivers.Redigo(t, pool)})
			second := newPeer(t, []backend.Node{drivers.Redigo(t, pool)})
			for range workers {
				worker := pool.Get() // the worker keeps it, like BLPOP
				defer worker.Close()
				if err := worker.Err(); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				took, tries := handOff(t, first, second, key, 600*time.Millisecond)
				t.Logf("%d attempts, %v after the release", tries, took.Round(time.Millisecond))
				if took > 600*time.Millisecond { // the time until the inbox gives its connection back, and one poll
					t.Errorf("locked %v after the release", took)
				}
			}
		})
	}
}
