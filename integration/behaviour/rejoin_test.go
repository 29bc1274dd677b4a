package behaviour

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// holds returns an error unless the server has the key with this value.
func holds(t testing.TB, s *servers.Server, key, value string) error {
	t.Helper()
	if got, err := s.Query(t.Context(), "GET", key); err != nil || got != value {
		return fmt.Errorf("%v has %v (%v), want the token", s, got, err)
	}
	return nil
}

// A lock with a TTL of 2 s extends itself while all servers restart without their data, one after
// another with pauses of 2 s, two times. In the end it is on all of them, and the next waiter
// gets it.
func TestRollingRestarts(t *testing.T) {
	const pause = 2 * time.Second
	eachAdapter(t, func(t *testing.T, a adapter) {
		t.Parallel() // because it mostly sleeps
		for _, n := range []int{3, 5} {
			for _, fencing := range []bool{false, true} {
				name := fmt.Sprintf("N=%d", n)
				opts := []redlock.LockOption{redlock.WithAutoExtend()}
				if fencing {
					name, opts = name+" with fencing", append(opts, redlock.WithFencing())
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithoutReuse())
					holder := a.locker(t, addrs(list), redlock.WithTTL(pause))
					lock, err := holder.Lock(t.Context(), "k", opts...)
					if err != nil {
						t.Fatal(err)
					}
					held := lock.Context(t.Context())
					waiting, waited := a.locker(t, addrs(list)), make(chan error, 1)
					go func() {
						ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
						defer cancel()
						second, err := waiting.Lock(ctx, "k")
						if err == nil {
							err = second.Unlock(t.Context())
						}
						waited <- err
					}()
					for _, s := range list { // one may have missed the lock, and then the first restart would end it
						eventually(t, 10*time.Second, func() error { return holds(t, s, "k", lock.Token()) })
					}
					var longest time.Duration
					for round := range 2 {
						for _, s := range list {
							s.Restart(t)
							start := time.Now()
							eventually(t, 10*time.Second, func() error { return holds(t, s, "k", lock.Token()) })
							longest = max(longest, time.Since(start))
							time.Sleep(time.Until(start.Add(pause)))
							if held.Err() != nil {
								t.Fatalf("round %d: the lock was lost: %v", round, context.Cause(held))
							}
						}
					}
					t.Logf("every server had the lock again at most %v after its restart", longest.Round(time.Millisecond))
					for _, s := range list {
						if err := holds(t, s, "k", lock.Token()); err != nil {
							t.Error(err)
						}
					}
					select {
					case err := <-waited:
						t.Fatalf("the waiter returned while the lock was held: %v", err)
					default:
					}
					if err := lock.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
					select {
					case err := <-waited:
						if err != nil {
							t.Errorf("the waiter: %v", err)
						}
					case <-time.After(10 * time.Second):
						t.Error("the waiter does not have the lock 10 s after the release")
					}
					for _, s := range list { // counters stay
						eventually(t, time.Second, func() error {
							if slices.Contains(s.Keys(t), "k") {
								return fmt.Errorf("%v still has a key of the lock", s)
							}
							return nil
						})
					}
				})
			}
		}
	})
}

// A lock that another library holds on one server stays unchanged, however often ours is
// extended. When the other lock is released, ours gets that server too.
func TestRejoinLeavesOthersAlone(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3)
		mutex := redsync.New(redsyncPools(t, addrs(list[2:]))...).NewMutex("k", redsync.WithExpiry(time.Minute))
		if err := mutex.TryLockContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		lock, err := a.locker(t, addrs(list)).Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if err := holds(t, list[2], "k", mutex.Value()); err != nil {
			t.Errorf("redsync's lock: %v", err)
		}
		if ok, err := mutex.UnlockContext(t.Context()); !ok || err != nil {
			t.Fatalf("redsync: unlock: %v, %v", ok, err)
		}
		if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, func() error { return holds(t, list[2], "k", lock.Token()) })
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}

// A server that hangs for longer than the TTL loses the lock, and gets it again.
func TestRejoinAfterAHang(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3, servers.WithOutages(), servers.WithoutReuse())
		t.Parallel() // because it mostly sleeps
		lock, err := a.locker(t, addrs(list), redlock.WithTTL(2*time.Second)).Lock(t.Context(), "k", redlock.WithAutoExtend())
		if err != nil {
			t.Fatal(err)
		}
		held := lock.Context(t.Context())
		for _, s := range list {
			s.Pause(t)
			time.Sleep(2500 * time.Millisecond)
			s.Resume(t)
			eventually(t, 10*time.Second, func() error { return holds(t, s, "k", lock.Token()) })
			if held.Err() != nil {
				t.Fatalf("the lock was lost: %v", context.Cause(held))
			}
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}
