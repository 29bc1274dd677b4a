package quarantine

import (
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A holds the lock on two of three servers. One of them loses the lock, and B reaches that server
// and the third one. B must not get the lock before A's lock has ended. Without a quarantine it
// gets the lock at once.
func TestLoss(t *testing.T) {
	realServers(t)
	for i, loss := range []struct {
		name string
		lose func(t *testing.T, s *servers.Server)
	}{
		{"a restart without persistence", func(t *testing.T, s *servers.Server) { s.Restart(t) }},
		{"everything deleted", func(t *testing.T, s *servers.Server) { s.Flush(t) }},
	} {
		t.Run(loss.name, func(t *testing.T) {
			fenced(t, func(t *testing.T, opts ...redlock.Option) {
				t.Parallel() // it waits more than it works
				list := servers.Start(t, servers.Any, 3, servers.WithOutages())

				a := mustLock(t, newLocker(t, list, i, []int{2}, append(opts, redlock.WithTTL(time.Minute))...))
				loss.lose(t, list[1])
				b := mustLock(t, newLocker(t, list, i+1, []int{0}, append(opts, redlock.WithTTL(time.Minute))...))
				if !time.Now().Before(a.Until()) {
					t.Error("without a quarantine, the first lock has ended; want it held, so that the test proves something")
				}
				a.Unlock(t.Context())
				b.Unlock(t.Context())

				opts = append(opts, redlock.WithQuarantine(length))
				mustEndQuarantine(t, newLocker(t, list, i, nil))
				a = mustLock(t, newLocker(t, list, i, []int{2}, opts...))
				loss.lose(t, list[1])
				other := newLocker(t, list, i+1, []int{0}, opts...)
				wantQuarantined(t, other, 1)
				b = mustLock(t, other)
				if time.Now().Before(a.Until()) {
					t.Error("unsafe: with a quarantine both hold the lock")
				}
				if a.Fence() > 0 && b.Fence() <= a.Fence() {
					t.Errorf("unsafe: the second has the token %d, the first %d", b.Fence(), a.Fence())
				}
			})
		})
	}
}

// A server that restarted with all its data keeps its locks, but grants no new ones, because
// nobody knows that the data is complete. Ending the quarantine confirms that.
func TestRestartWithPersistence(t *testing.T) {
	realServers(t)
	list := servers.Start(t, servers.Any, 1, servers.WithOutages(), servers.WithAOF())
	for i, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			fenced(t, func(t *testing.T, opts ...redlock.Option) {
				list[0].Flush(t)
				const long = 30 * time.Second // so that nothing is too late on a busy machine
				locker := newLocker(t, list, i, nil, append(opts, redlock.WithTTL(long),
					redlock.WithNodeTimeout(3*time.Second), redlock.WithQuarantine(2*time.Minute))...)
				wantQuarantined(t, locker, 1) // the server is new
				mustEndQuarantine(t, locker)
				lock := mustLock(t, locker)
				list[0].Restart(t)
				if err := retried(func() error { return lock.Extend(t.Context(), long) }); err != nil {
					t.Errorf("extend: %v", err)
				}
				wantQuarantined(t, locker, 1)
				if err := lock.Unlock(t.Context()); err != nil {
					t.Errorf("unlock: %v", err)
				}
				wantQuarantined(t, locker, 1)
				mustEndQuarantine(t, locker)
				if err := mustLock(t, locker).Unlock(t.Context()); err != nil {
					t.Errorf("unlock: %v", err)
				}
				list[0].Flush(t)
				wantQuarantined(t, locker, 1)
			})
		})
	}
}

// retried repeats f if it fails, because connections from before a restart are broken.
func retried(f func() error) error {
	var err error
	for range 5 {
		if err = f(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// A replica that takes its master's place is in quarantine, although it has a copy of its
// master's marker.
func TestFailover(t *testing.T) {
	realServers(t)
	for _, d := range drivers.All {
		if d.Sentinel == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			set := servers.StartSentinel(t, servers.Any, 1)
			locker := newLockerOf(t, d, set, redlock.WithTTL(ttl), redlock.WithQuarantine(2*time.Minute))
			mustEndQuarantine(t, locker)
			mustLock(t, locker)
			before := set.Master.Do(t, "GET", marker)
			for start := time.Now(); set.Replica.Do(t, "GET", marker) != before || set.Replica.Do(t, "EXISTS", key) != int64(1); {
				if time.Since(start) > 10*time.Second {
					t.Fatal("the replica has not caught up")
				}
				time.Sleep(10 * time.Millisecond)
			}
			set.Master.Kill(t)
			set.WaitFailover(t)
			start := time.Now()
			for {
				lock, err := locker.TryLock(t.Context(), key)
				if err == nil {
					t.Fatalf("locked, by %v", lock.Report())
				}
				if strings.Contains(err.Error(), "quarantined: QUARANTINE for another ") {
					break
				}
				if time.Since(start) > 15*time.Second {
					t.Fatalf("an attempt returned %v, want the quarantine", err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			mustEndQuarantine(t, locker)
			mustLock(t, locker) // this may wait for the end of the first lock
		})
	}
}
