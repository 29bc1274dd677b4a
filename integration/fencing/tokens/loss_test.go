package tokens

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// apart is the shortest time between two locks whose tokens are in order even if servers lose
// counters. It is twice the distance by which a counter may follow a hint. The servers share a
// clock.
const apart = 2*250*time.Millisecond + 50*time.Millisecond

// mustLock returns a lock and its grant, with times since start.
func mustLock(t testing.TB, locker *redlock.Locker, start time.Time) (*redlock.Lock, grant) {
	t.Helper()
	asked := time.Since(start)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	lock, err := locker.Lock(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	return lock, grant{asked, time.Since(start), lock.Fence()}
}

// Every server loses all its data. Tokens continue from the clocks. They begin again from below
// only after a second fault: counters that some clock had moved ahead of the servers' clocks.
func TestTokensAfterLoss(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		for _, secondFault := range []bool{false, true} {
			t.Run(fmt.Sprintf("N=%d, second fault %v", n, secondFault), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithoutReuse())
				if secondFault {
					ahead(t, list)
				}
				start := time.Now()
				_, first := mustLock(t, newLocker(t, list, 0), start)
				for _, s := range list {
					s.Restart(t)
				}
				time.Sleep(first.got + apart - time.Since(start))
				_, second := mustLock(t, newLocker(t, list, 1), start)
				if wrong := disorder([]grant{first, second}); len(wrong) > 0 && !secondFault {
					t.Errorf("unsafe: first %v, then %v: %q", first, second, wrong)
				} else if len(wrong) == 0 && secondFault {
					t.Errorf("first %v, then %v, want them out of order, so that the test proves something", first, second)
				}
			})
		}
	}
}

// Two clients hold the lock, because a server of the first one's quorum has forgotten it. The
// second has the higher token, and the resource rejects the first.
func TestOverlap(t *testing.T) {
	const long = redlock.DefaultTTL * 6
	for _, tc := range []struct {
		name   string
		opts   []servers.Option
		forget func(t *testing.T, s *servers.Server)
	}{
		// The same as when the server's clock jumps ahead: the lock expires there.
		{"too early an expiry", nil, func(t *testing.T, s *servers.Server) {
			s.Do(t, "PEXPIRE", key, 1)
			for s.Do(t, "EXISTS", key) != int64(0) {
				time.Sleep(time.Millisecond)
			}
		}},
		{"a clock set ahead", []servers.Option{servers.WithClock()}, func(t *testing.T, s *servers.Server) {
			s.StepClock(t, long)
		}},
		{"a restart without persistence", nil, func(t *testing.T, s *servers.Server) { s.Restart(t) }},
		// According to its clock, the server has waited for longer than the TTL.
		{"a restart during which the clock is set ahead", []servers.Option{servers.WithClock(), servers.WithAOF()}, func(t *testing.T, s *servers.Server) {
			s.Kill(t)
			s.StepClock(t, long)
			s.Start(t)
		}},
		{"everything deleted", nil, func(t *testing.T, s *servers.Server) { s.Flush(t) }},
		{"an eviction", nil, func(t *testing.T, s *servers.Server) {
			if s.Kind() == servers.Embedded {
				t.Skip("embedded servers have no memory limit")
			}
			s.SetConfig(t, "maxmemory-policy", "allkeys-lru")
			full(t, s)
			s.SetConfig(t, "maxmemory", "0")
			if keys := s.Keys(t); len(keys) > 0 {
				t.Fatalf("the keys %q still exist", keys)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := servers.Start(t, servers.Any, 5, append(tc.opts, servers.WithOutages(), servers.WithoutReuse())...)
			overlap(t, list, long, func() []*servers.Server {
				tc.forget(t, list[2])
				return list
			})
		})
	}
}

// As TestOverlap, but a replica that is behind takes the place of its master.
func TestOverlapAfterFailover(t *testing.T) {
	set := servers.StartSentinel(t, servers.Any, 1)
	set.Sentinels[0].Kill(t) // the test does the failover itself
	list := servers.Start(t, servers.Any, 4, servers.WithOutages(), servers.WithoutReuse())
	list = []*servers.Server{list[0], list[1], set.Master, list[2], list[3]}
	set.Replica.Do(t, "REPLICAOF", "127.0.0.1", 1) // no server is there
	overlap(t, list, redlock.DefaultTTL*6, func() []*servers.Server {
		if got := set.Master.Do(t, "EXISTS", key, counter); got != int64(2) {
			t.Fatalf("the master has %v of the lock and its counter", got)
		}
		set.Master.Kill(t)
		set.Replica.Do(t, "REPLICAOF", "NO", "ONE")
		return []*servers.Server{list[0], list[1], set.Replica, list[3], list[4]}
	})
}

// overlap makes a first client lock on servers 0, 1 and 2, and a second one on 2, 3 and 4, of the
// servers that forget returns. Both must hold the lock at once, and only the second may write.
func overlap(t *testing.T, list []*servers.Server, ttl time.Duration, forget func() []*servers.Server) {
	t.Helper()
	start := time.Now()
	kill(t, list[3:])
	a, first := mustLock(t, newLocker(t, list, 0, redlock.WithTTL(ttl)), start)
	time.Sleep(apart) // by now the first has given up on the other servers
	for _, s := range list[3:] {
		s.Start(t)
	}
	list = forget()
	kill(t, list[:2])
	b, second := mustLock(t, newLocker(t, list, 1, redlock.WithTTL(ttl)), start)
	if !time.Now().Before(a.Until()) {
		t.Fatal("the first lock has ended; want it held, so that the test proves something")
	}
	for _, s := range disorder([]grant{first, second}) {
		t.Error("unsafe: ", s)
	}
	supersedes(t, b, a)
}

// supersedes makes a resource see the token of a later lock, and then checks that it rejects an
// earlier one.
func supersedes(t testing.TB, later, earlier *redlock.Lock) {
	t.Helper()
	var resource fence.Guard
	if err := resource.Announce(later.Fence()); err != nil {
		t.Error(err)
	}
	err := resource.Do(earlier.Fence(), func() error { t.Error("unsafe: the earlier holder wrote"); return nil })
	if !errors.Is(err, fence.ErrStale) {
		t.Errorf("the earlier holder got %v, want fence.ErrStale", err)
	}
}

// full takes all free memory from a server, and makes the server notice it.
func full(t testing.TB, s *servers.Server) {
	t.Helper()
	s.SetConfig(t, "maxmemory", "1")
	if _, err := s.Query(context.Background(), "SET", "more", 1); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("a server without memory answers %v", err)
	}
}

// Servers that are full and evict nothing reject locks, and count as failed. They keep and
// release the locks that they have.
func TestFullServers(t *testing.T) {
	if servers.Kinds(t)[0] == servers.Embedded {
		t.Skip("embedded servers have no memory limit")
	}
	list := servers.Start(t, servers.Any, 3)
	start := time.Now()
	var grants []grant
	once := func(locker *redlock.Locker) *redlock.Lock {
		t.Helper()
		lock, g := mustLock(t, locker, start)
		grants = append(grants, g)
		return lock
	}
	locker, other := newLocker(t, list, 0, patient), newLocker(t, list, 1, patient)
	unlock(t, once(locker))

	full(t, list[0])
	unlock(t, once(other))
	lock := once(locker)
	full(t, list[1])
	if err := lock.Extend(t.Context(), redlock.DefaultTTL); err != nil {
		t.Errorf("an extension: %v", err)
	}
	if _, err := other.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) && !errors.Is(err, redlock.ErrUnavailable) {
		t.Errorf("while it is held: %v", err)
	}
	unlock(t, lock)
	eventuallyFree(t, list, key)
	if _, err := other.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("on a majority of full servers: %v, want ErrUnavailable with OOM", err)
	}
	eventuallyFree(t, list, key)

	for _, s := range list[:2] {
		s.SetConfig(t, "maxmemory", "0")
	}
	unlock(t, once(other))
	for _, s := range disorder(grants) {
		t.Error("unsafe: ", s)
	}
}

func kill(t testing.TB, list []*servers.Server) {
	t.Helper()
	for _, s := range list {
		s.Kill(t)
	}
}
