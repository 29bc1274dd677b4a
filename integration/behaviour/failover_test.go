package behaviour

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// atOnce locks that many keys at the same time and returns the locks, so that the client makes
// several connections if it can.
func atOnce(t testing.TB, locker *redlock.Locker, n int) []*redlock.Lock {
	t.Helper()
	locks, errs := make([]*redlock.Lock, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { locks[i], errs[i] = locker.Lock(t.Context(), fmt.Sprint("held", i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return locks
}

// Behind a name, another server takes a master's place. The master becomes a replica and keeps
// its connections. Within seconds, locks are granted again and held locks can be extended.
func TestFailoverBehindName(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers have no replicas")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		t.Parallel()
		list := servers.Start(t, kind, 2, servers.WithoutReuse())
		name := netfault.New(t, list[0].Addr())
		nodes := []backend.Node{a.FromURL(t, "redis://"+name.Addr())}
		locker := newLocker(t, nodes, redlock.WithTTL(20*time.Second))
		locks := atOnce(t, locker, 10)
		// The other server has the same keys, like a replica. The two servers need not reach each
		// other.
		for _, key := range list[0].Keys(t) {
			list[1].Do(t, "SET", key, list[0].Do(t, "GET", key), "PX", 20_000)
		}
		name.Redirect(list[1].Addr())
		list[0].Do(t, "REPLICAOF", "127.0.0.1", 1)

		start := time.Now()
		eventually(t, 5*time.Second, func() error {
			_, err := locker.TryLock(t.Context(), "after")
			return err
		})
		t.Logf("a lock is granted again after %v", time.Since(start))
		for _, lock := range locks {
			if err := lock.Extend(t.Context(), 20*time.Second); err != nil {
				t.Errorf("Extend: %v", err)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
		}
	})
}

// A server closes all connections, most of which are idle, and goes on. No call fails, because an
// operation is sent a second time, on a connection that works.
func TestIdleConnectionsAreCut(t *testing.T) {
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		if kind == servers.Embedded {
			t.Skip("embedded servers do not close connections: they have no CLIENT KILL")
		}
		s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		for _, what := range []string{"TryLock", "Extend", "Unlock"} {
			t.Run(what, func(t *testing.T) {
				locker := newLocker(t, []backend.Node{a.FromURL(t, "redis://"+s.Addr())}, redlock.WithKeyPrefix(what))
				locks := atOnce(t, locker, 20)
				time.Sleep(50 * time.Millisecond) // the connections are idle
				s.Do(t, "CLIENT", "KILL", "TYPE", "normal")
				var err error
				switch what {
				case "TryLock":
					_, err = locker.TryLock(t.Context(), "after")
				case "Extend":
					err = locks[0].Extend(t.Context(), 20*time.Second)
				}
				if err != nil {
					t.Error(err)
				}
				for _, lock := range locks {
					if err := lock.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	})
}
