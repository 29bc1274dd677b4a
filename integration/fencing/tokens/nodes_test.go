package tokens

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The library does not notice if one server has two names. Among clients that all use the same
// nodes, locks exclude each other and tokens are in order. But without that server there is no
// lock, although two of three nodes seem to be left.
func TestTwoNamesOfOneServer(t *testing.T) {
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			list := servers.Start(t, servers.Any, 2, servers.WithOutages())
			_, port := list[0].HostPort()
			newLocker := func(opts ...redlock.Option) *redlock.Locker {
				t.Helper()
				nodes := []backend.Node{d.Node(t, list[0].Addr()), d.Node(t, "localhost:"+port), d.Node(t, list[1].Addr())}
				locker, err := redlock.New(nodes, opts...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { locker.Close(context.Background()) })
				return locker
			}
			var granted sync.Map // the nodes that have granted plain something
			one, other := newLocker(patient, redlock.WithFencing()), newLocker(patient, redlock.WithFencing())
			plain := newLocker(patient, redlock.WithHooks(redlock.Hooks{Node: func(e redlock.NodeEvent) {
				if e.Outcome == redlock.Granted {
					granted.Store(e.Node, nil)
				}
			}}))
			last := uint64(0)
			for _, locker := range []*redlock.Locker{one, other, one} {
				lock := lockKey(t, locker, key, last)
				last = lock.Fence()
				for _, l := range []*redlock.Locker{one, other, plain} {
					if _, err := l.TryLock(t.Context(), key); err == nil {
						t.Error("unsafe: a second client got the lock while it was held")
					}
				}
				lock.Unlock(t.Context()) // the server with two names holds it once, so it may be reported as lost
				eventuallyFree(t, list, key)
			}

			// Even without a token, acquires are scripts until a node has granted something. An
			// attempt may be over before it has sent one to each node, so repeat until all have.
			for all, deadline := 0, time.Now().Add(20*time.Second); all < 3; {
				if time.Now().After(deadline) {
					t.Fatalf("%d of 3 nodes have granted a lock", all)
				}
				lock, err := plain.TryLock(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				lock.Unlock(t.Context())
				eventuallyFree(t, list, key)
				all = 0
				granted.Range(func(any, any) bool { all++; return true })
			}

			// That server alone can grant a lock with a token, but none without. It grants only
			// one of the two requests, and only a script shows whose lock it is.
			list[1].Pause(t)
			lockKey(t, one, key, last).Unlock(t.Context())
			eventuallyFree(t, list[:1], key)
			if _, err := plain.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) && !errors.Is(err, redlock.ErrUnavailable) {
				t.Errorf("a lock without a token, from one server with two names: %v", err)
			}
			eventuallyFree(t, list[:1], key)
			list[1].Resume(t)
			list[0].Pause(t)
			if _, err := one.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrUnavailable) {
				t.Errorf("without the server with two names: %v, want ErrUnavailable", err)
			}
			list[0].Resume(t)
		})
	}
}

// The library does not notice if clients name different servers. Their quorums need not have a
// common server. Both hold the lock, and the later one may have the lower token.
func TestDifferentServers(t *testing.T) {
	list := servers.Start(t, servers.Any, 5)
	ahead(t, list[:2])
	one, other := newLocker(t, list[:3], 0, patient), newLocker(t, list[2:], 1, patient)
	start := time.Now()
	a, first := mustLock(t, one, start)
	b, second := mustLock(t, other, start)
	if !time.Now().Before(a.Until()) {
		t.Fatal("the first lock has ended; want it held, so that the test proves something")
	}
	if first.token <= second.token {
		t.Errorf("%v and then %v, which is better than documented", first, second)
	}
	unlock(t, a)
	unlock(t, b)
}
