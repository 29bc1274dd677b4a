package behaviour

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"
	valkeydriver "github.com/valkey-io/valkey-go"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Nodes of all drivers form one quorum.
func TestMixedDrivers(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		list := servers.Start(t, kind, 5)
		var nodes []backend.Node
		for i, s := range list {
			nodes = append(nodes, drivers.All[i%len(drivers.All)].Node(t, s.Addr()))
		}
		mixed := newLocker(t, nodes)
		lock, err := mixed.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range drivers.All { // all drivers exclude each other
			if _, err := (adapter{d}).locker(t, addrs(list)).TryLock(t.Context(), "k"); !errors.Is(err, redlock.ErrTaken) {
				t.Errorf("%s alone: %v, want ErrTaken", d.Name, err)
			}
		}
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}

// A lock acquired through one driver is resumed and released through another.
func TestResumeThroughAnotherDriver(t *testing.T) {
	list := servers.Start(t, servers.Any, 3)
	for i := range drivers.All {
		a, other := adapter{drivers.All[i]}, adapter{drivers.All[(i+1)%len(drivers.All)]}
		lock, err := a.locker(t, addrs(list)).Lock(t.Context(), "k", redlock.WithOwner(a.Name))
		if err != nil {
			t.Fatal(err)
		}
		locker := other.locker(t, addrs(list))
		// Release knows nothing of what is still under way: so all nodes have granted, and
		// later extended, the lock before.
		eventually(t, time.Second, func() error { return onAll(t.Context(), locker, "k") })
		resumed, err := locker.Resume(t.Context(), lock.Handover(), redlock.WithTTL(2*redlock.DefaultTTL))
		if err != nil {
			t.Fatalf("%s resumes the lock of %s: %v", other.Name, a.Name, err)
		}
		eventually(t, time.Second, func() error { return extended(t.Context(), locker, "k", redlock.DefaultTTL) })
		if status, err := locker.Inspect(t.Context(), "k"); err != nil || status.State != redlock.StateHeld || status.Owner != a.Name {
			t.Errorf("inspected: %v, %v", status, err)
		}
		if err := locker.Release(t.Context(), resumed.Handover()); err != nil {
			t.Errorf("%s releases the lock of %s: %v", other.Name, a.Name, err)
		}
		if err := lock.Unlock(t.Context()); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("unlocked after that: %v, want ErrNotHeld", err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	}
}

// extended returns an error unless all nodes keep the lock on key for longer than ttl.
func extended(ctx context.Context, locker *redlock.Locker, key string, ttl time.Duration) error {
	status, err := locker.Inspect(ctx, key)
	if err != nil {
		return err
	}
	for _, node := range status.Nodes {
		if node.TTL <= ttl {
			return fmt.Errorf("not extended on all nodes: %v", status)
		}
	}
	return nil
}

// A whole Cluster is one node. With one master down, only the keys on it are unavailable.
func TestCluster(t *testing.T) {
	for _, d := range drivers.All {
		if d.Cluster == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			cluster := servers.StartCluster(t, servers.Any)
			locker := newLocker(t, []backend.Node{d.Cluster(t, cluster.Addrs())})
			keys := make(map[*servers.Server]string) // one on each master
			for i := 0; len(keys) < len(cluster.Nodes); i++ {
				key := fmt.Sprint("k", i)
				keys[cluster.NodeOf(t, key)] = key
			}
			for _, key := range keys {
				cycle(t, locker, key)
			}
			cycle(t, locker, "{tagged}key")
			if left := cluster.Keys(t); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}

			down := cluster.Nodes[1]
			down.Pause(t)
			if _, err := locker.TryLock(t.Context(), keys[down]); !errors.Is(err, redlock.ErrUnavailable) {
				t.Errorf("a key of the master that is hung: %v, want ErrUnavailable", err)
			}
			for s, key := range keys {
				if s != down {
					if err := free(t.Context(), locker, key); err != nil {
						t.Errorf("a key of another master: %v", err)
					}
				}
			}
			down.Resume(t)
			eventually(t, 5*time.Second, func() error { return free(t.Context(), locker, keys[down]) })
		})
	}
}

// A Sentinel set is one node, before and after its master is replaced.
func TestSentinel(t *testing.T) {
	for _, d := range drivers.All {
		if d.Sentinel == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			set := servers.StartSentinel(t, servers.Any, 1)
			locker := newLocker(t, []backend.Node{d.Sentinel(t, set.Addrs(), set.Name)})
			cycle(t, locker, "k")
			set.Master.Kill(t)
			set.WaitFailover(t)
			eventually(t, 15*time.Second, func() error { return free(t.Context(), locker, "k") })
			cycle(t, locker, "k")
		})
	}
}

// A user with exactly the rights that the adapters' documentation lists can use everything.
func TestLeastPrivilege(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		list := servers.Start(t, kind, 1, servers.WithUser("locker", "s3cret/@:", "resetchannels", "-@all",
			"~lock:*", "+set", "+get", "+del", "+pttl", "+pexpire", "+evalsha", "+eval"))
		for _, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				locker := newLocker(t, []backend.Node{d.FromURL(t, list[0].URL())}, redlock.WithKeyPrefix("lock:"))
				cycle(t, locker, "k")
				if status, err := locker.Inspect(t.Context(), "k"); err != nil || status.State != redlock.StateFree {
					t.Errorf("inspected: %v, %v", status, err)
				}

				// A key without rights is rejected at once, and always.
				other := newLocker(t, []backend.Node{d.FromURL(t, list[0].URL())})
				took := timed(func() {
					_, err := other.Lock(t.Context(), "k")
					if !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "NOPERM") {
						t.Errorf("a key without rights: %v, want ErrUnavailable with NOPERM", err)
					}
				})
				if took > time.Second {
					t.Errorf("a rejection took %v", took)
				}
			})
		}
	})
}

// A wrong password is reported at once, with an error that does not show it.
func TestWrongPassword(t *testing.T) {
	list := servers.Start(t, servers.Any, 1, servers.WithPassword("right"))
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			url := strings.Replace(list[0].URL(), "right", "wr0ng", 1)
			locker := newLocker(t, []backend.Node{d.FromURL(t, url)})
			took := timed(func() {
				_, err := locker.Lock(t.Context(), "k")
				if !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "WRONGPASS") || strings.Contains(err.Error(), "wr0ng") {
					t.Errorf("got %v, want ErrUnavailable with WRONGPASS and without the password", err)
				}
			})
			if took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// Everything works over TLS with certificates on both sides.
func TestTLS(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		list := servers.Start(t, kind, 1, servers.WithTLS())
		s := list[0]
		pool := &redigodriver.Pool{Dial: func() (redigodriver.Conn, error) {
			return redigodriver.Dial("tcp", s.Addr(), redigodriver.DialUseTLS(true), redigodriver.DialTLSConfig(s.TLSConfig()))
		}}
		for name, node := range map[string]backend.Node{
			"goredis": drivers.GoRedis(t, goredisdriver.Options{Addr: s.Addr(), TLSConfig: s.TLSConfig()}),
			"redigo":  drivers.Redigo(t, pool),
			"rueidis": drivers.Rueidis(t, rueidisdriver.ClientOption{InitAddress: []string{s.Addr()}, TLSConfig: s.TLSConfig()}),
			"valkey":  drivers.Valkey(t, valkeydriver.ClientOption{InitAddress: []string{s.Addr()}, TLSConfig: s.TLSConfig()}),
		} {
			t.Run(name, func(t *testing.T) { cycle(t, newLocker(t, []backend.Node{node}), "k") })
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}
