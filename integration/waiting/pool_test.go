package waiting

import (
	"context"
	"testing"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// smallPool returns a redigo pool with room for so many connections.
func smallPool(s *servers.Server, most int, wait bool) *redigodriver.Pool {
	return &redigodriver.Pool{
		MaxIdle: most, MaxActive: most, Wait: wait,
		DialContext: func(ctx context.Context) (redigodriver.Conn, error) {
			return redigodriver.DialContext(ctx, "tcp", s.Addr())
		},
	}
}

// Many Lockers share a pool of two connections. Their inboxes take one of these between
// them, so that everyone is notified, and in turn.
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
		time.Sleep(500 * time.Millisecond) // for them to wait
		if kind != servers.Embedded {
			if n := s.Do(t, "ZCARD", queue(key)); n != int64(lockers) {
				t.Errorf("%v of %d Lockers are queued", n, lockers)
			}
		}
		start := time.Now()
		if err := held.Unlock(t.Context()); err != nil {
			t.Error("the holder: ", err)
		}
		for range lockers {
			if err := <-results; err != nil {
				t.Error("one of many: ", err)
			}
		}
		within(t, "the turns of all", time.Since(start), 0, time.Second)
		servers.WaitEmpty(t, time.Second, s)
	})
}

// Workers of the application that block in the same pool leave one connection, or two if
// the pool does not wait, because two commands may need one at a time. Locks are acquired,
// waited for and released on what is left.
func TestBlockedPool(t *testing.T) {
	s := servers.Start(t, servers.Any, 1)[0]
	for name, workers := range map[string]int{"that waits": 4, "that does not wait": 3} {
		t.Run(name, func(t *testing.T) {
			wait := workers == 4
			pool := smallPool(s, 5, wait)
			first := newPeer(t, []backend.Node{drivers.Redigo(t, pool)})
			second := newPeer(t, []backend.Node{drivers.Redigo(t, pool)})
			for range workers {
				worker := pool.Get() // which it keeps, as BLPOP does
				defer worker.Close()
				if err := worker.Err(); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				took, tries := handOff(t, first, second, key, 600*time.Millisecond)
				t.Logf("%d tries, %v after the release", tries, took.Round(time.Millisecond))
				if took > 600*time.Millisecond { // the time after which the inbox lets go, and a poll
					t.Errorf("it had the lock %v after the release", took)
				}
			}
		})
	}
}
