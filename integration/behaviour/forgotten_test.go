package behaviour

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A firewall forgets all connections to all servers: nothing arrives on them any more, but new
// connections work. Locks are granted again after two node timeouts. Held locks that extend
// themselves are not lost. (One adapter of each family, because each takes 15 s.)
func TestForgottenConnections(t *testing.T) {
	eachFamily(t, func(t *testing.T, a adapter) {
		for client, make := range map[string]func(addr string) backend.Node{
			"the driver's client":  func(addr string) backend.Node { return a.Node(t, addr) },
			"the adapter's client": func(addr string) backend.Node { return a.FromURL(t, "redis://"+addr) },
		} {
			for _, n := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/N=%d", client, n), func(t *testing.T) {
					list := servers.Start(t, servers.Any, n, servers.WithoutReuse())
					t.Parallel() // because it mostly sleeps
					proxies := proxied(t, list)
					var nodes []backend.Node
					for _, addr := range proxyAddrs(proxies) {
						nodes = append(nodes, make(addr))
					}
					forgotten(t, nodes, proxies)
				})
			}
		}
	})
}

func forgotten(t *testing.T, nodes []backend.Node, proxies []*netfault.Proxy) {
	busy := newLocker(t, nodes)
	for _, lock := range atOnce(t, busy, 10) { // several connections, if the driver makes several
		if err := lock.Unlock(t.Context()); err != nil {
			t.Logf("on a slow machine: %v", err)
		}
	}
	forget := func() {
		for _, p := range proxies {
			p.Forget()
		}
	}
	// hold acquires a lock and returns a function that waits until it was extended after the
	// connections were forgotten.
	hold := func(ttl time.Duration) (extended func()) {
		locker := newLocker(t, nodes, redlock.WithTTL(ttl), redlock.WithAutoExtend())
		lock, err := locker.Lock(t.Context(), fmt.Sprint("held for ", ttl))
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			ctx := lock.Context(t.Context())
			until := lock.Until()
			eventually(t, ttl, func() error {
				if err := ctx.Err(); err != nil {
					return nil // the lock is lost
				}
				if !lock.Until().After(until) {
					return errors.New("not extended")
				}
				return nil
			})
			if err := context.Cause(ctx); err != nil {
				t.Errorf("a lock with a TTL of %v is lost: %v", ttl, err)
			} else if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
		}
	}

	extended := hold(10 * time.Second)
	forget()
	start, tries := time.Now(), 0
	took := timed(func() {
		eventually(t, 20*time.Second, func() error {
			tries++
			_, err := busy.TryLock(t.Context(), fmt.Sprint("new", tries))
			return err
		})
	})
	t.Logf("TryLock succeeds after %v, attempt %d", time.Since(start), tries)
	if most := 2*redlock.DefaultNodeTimeout + 200*time.Millisecond; took > most {
		t.Errorf("TryLock succeeds after %v, want at most %v", took, most)
	}
	extended()

	// This client has no other calls under way.
	short := hold(3 * time.Second)
	forget()
	short()
	long := hold(10 * time.Second)
	forget()
	long()
}
