package behaviour

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// cycle locks, extends and unlocks once, and returns how long each took.
func cycle(t testing.TB, locker *redlock.Locker, key string) (took [3]time.Duration) {
	t.Helper()
	ctx := t.Context()
	start := time.Now()
	lock, err := locker.Lock(ctx, key)
	took[0] = time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	err = lock.Extend(ctx, 20*time.Second)
	took[1] = time.Since(start)
	if err != nil {
		t.Error(err)
	}
	start = time.Now()
	err = lock.Unlock(ctx)
	took[2] = time.Since(start)
	if err != nil {
		t.Error(err)
	}
	return took
}

var steps = [3]string{"Lock", "Extend", "Unlock"}

// One server of three, or two of five, stop answering. Locks work as before, few goroutines wait
// for those servers, and they are clean soon after they answer again.
func TestHungMinority(t *testing.T) {
	eachInTurn(t, func(t *testing.T, a adapter, kind servers.Kind) {
		for _, n := range []int{3, 5} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, kind, n, servers.WithOutages(), servers.WithoutReuse())
				locker := a.locker(t, addrs(list))
				for i := range 5 {
					cycle(t, locker, fmt.Sprint("warm", i))
				}
				const rounds = 60
				var healthy, hung [3][]time.Duration
				for i := range rounds {
					for step, d := range cycle(t, locker, fmt.Sprint("healthy", i)) {
						healthy[step] = append(healthy[step], d)
					}
				}
				servers.WaitEmpty(t, time.Second, list...)
				before := runtime.NumGoroutine()

				down := list[:n/2]
				for _, s := range down {
					s.Pause(t)
				}
				watch := stall.Begin()
				for i := range rounds {
					for step, d := range cycle(t, locker, fmt.Sprint("hung", i)) {
						hung[step] = append(hung[step], d)
					}
				}
				stalled := watch.End()
				// The number of goroutines is bounded, however many locks follow.
				if embedded(t) {
					t.Log("goroutines are not counted, because embedded servers have some too")
					before = math.MaxInt / 2
				}
				// rueidis starts two goroutines for a connection once two calls were under way on
				// it at the same time, which may not have happened before the outage.
				if a.Family() == "rueidis" {
					before += 2 * n
				}
				eventually(t, time.Second, func() error { return goroutinesAtMost(before + 4*len(down)) })
				for _, s := range down {
					s.Resume(t)
				}
				servers.WaitEmpty(t, time.Second, list...)
				eventually(t, 5*time.Second, func() error { return goroutinesAtMost(before) })

				for step, name := range steps {
					control, _ := median(healthy[step])
					middle, longest := median(hung[step])
					t.Logf("%s: median %v, healthy %v, longest %v", name, middle, control, longest)
					if middle > 3*control+2*time.Millisecond { // the medians are shorter than a millisecond
						t.Errorf("%s: median %v with a hung minority, want at most three times %v and 2ms", name, middle, control)
					}
					if bound := redlock.DefaultNodeTimeout + 100*time.Millisecond; longest-stalled > bound {
						t.Errorf("%s: took up to %v with a hung minority, want at most %v", name, longest, bound)
					}
				}
			})
		}
	})
}

// With a majority stopped, an attempt fails in time, and the error names the servers that did not
// answer. With a majority dead, it fails at once.
func TestMajorityDown(t *testing.T) {
	eachInTurn(t, func(t *testing.T, a adapter, kind servers.Kind) {
		sizes := []int{1, 3, 5}
		if kind != servers.Kinds(t)[0] {
			sizes = []int{3}
		}
		for _, n := range sizes {
			for how, stop := range map[string]func(*servers.Server){
				"hung": func(s *servers.Server) { s.Pause(t) },
				"dead": func(s *servers.Server) { s.Kill(t) },
			} {
				t.Run(fmt.Sprintf("N=%d/%s", n, how), func(t *testing.T) {
					list := servers.Start(t, kind, n, servers.WithOutages())
					locker := a.locker(t, addrs(list))
					cycle(t, locker, "warm")
					cycle(t, locker, "warm too")
					slow := a.locker(t, addrs(list), redlock.WithNodeTimeout(time.Second))
					cycle(t, slow, "warm three")
					servers.WaitEmpty(t, time.Second, list...)
					down := list[:n/2+1]
					for _, s := range down {
						stop(s)
					}

					bound := redlock.DefaultNodeTimeout + 100*time.Millisecond
					var err error
					took := timed(func() { _, err = locker.TryLock(t.Context(), "k") })
					if !errors.Is(err, redlock.ErrUnavailable) {
						t.Errorf("got %v, want ErrUnavailable", err)
					}
					if took > bound {
						t.Errorf("TryLock took %v, want at most %v", took, bound)
					}
					if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
						t.Errorf("%v matches an error of the caller's ctx", err)
					}
					report := quorumError(t, err).Rounds[0]
					for i, s := range down {
						if node := report[i]; node.Node != s.Addr() || node.Outcome != redlock.Failed && node.Outcome != redlock.TimedOut {
							t.Errorf("the report does not name %s: %v", s.Addr(), report)
						}
					}
					t.Logf("after %v: %v", took.Round(time.Millisecond), err)

					// A ctx ends a call long before a node timeout of 1 s does.
					ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
					defer cancel()
					took = timed(func() { _, err = slow.Lock(ctx, "k") })
					if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, redlock.ErrUnavailable) {
						t.Errorf("got %v, want ErrUnavailable and DeadlineExceeded", err)
					}
					if took > 400*time.Millisecond {
						t.Errorf("a ctx of 150ms ended the call after %v", took)
					}

					// Nothing stays on the servers that answer, nor on the others when they
					// answer again.
					servers.WaitEmpty(t, time.Second, list[n/2+1:]...)
					for _, s := range down {
						s.Resume(t)
						s.Start(t)
					}
					eventually(t, 10*time.Second, func() error { return free(t.Context(), locker, "k") })
					servers.WaitEmpty(t, time.Second, list...)
				})
			}
		}
	})
}

// Servers die, stop and return while a lock is held.
func TestOutageWhileHeld(t *testing.T) {
	eachInTurn(t, func(t *testing.T, a adapter, kind servers.Kind) {
		list := servers.Start(t, kind, 3, servers.WithOutages())
		t.Parallel() // because it mostly sleeps
		// The node timeout is longer than the default, because the machine may stand still for a
		// while. The TTL must outlast the restart of a container on such a machine.
		patient := redlock.WithNodeTimeout(500 * time.Millisecond)
		locker := a.locker(t, addrs(list), redlock.WithTTL(15*time.Second), patient)
		ctx := t.Context()
		cycle(t, locker, "warm")

		t.Run("minority restarted", func(t *testing.T) {
			lock, err := locker.Lock(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Second, func() error { return onAll(ctx, locker, "k") })
			list[0].Restart(t) // restarts empty
			if err := lock.Extend(ctx, 20*time.Second); err != nil {
				t.Errorf("with two of three left: %v", err)
			}
			if _, err := locker.TryLock(ctx, "k"); !errors.Is(err, redlock.ErrTaken) {
				t.Errorf("another Locker got %v, want ErrTaken", err)
			}
			if err := lock.Unlock(ctx); err != nil {
				t.Errorf("with two of three left: %v", err)
			}
			servers.WaitEmpty(t, time.Second, list...)
		})
		t.Run("minority hung", func(t *testing.T) {
			lock, err := locker.Lock(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			list[0].Pause(t)
			until := lock.Until()
			if err := lock.Extend(ctx, 20*time.Second); err != nil {
				t.Errorf("with two of three left: %v", err)
			}
			if !lock.Until().After(until) {
				t.Errorf("Until stayed at %v after a successful extension", until)
			}
			if err := lock.Unlock(ctx); err != nil {
				t.Errorf("with two of three left: %v", err)
			}
			list[0].Resume(t)
			servers.WaitEmpty(t, time.Second, list...)
		})
		t.Run("majority restarted", func(t *testing.T) {
			lock, err := locker.Lock(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			held := lock.Context(ctx)
			list[0].Restart(t)
			list[1].Restart(t)
			// The servers have lost the lock, and their answers show it.
			eventually(t, 3*time.Second, func() error {
				err := lock.Extend(ctx, 20*time.Second)
				if !errors.Is(err, redlock.ErrNotHeld) {
					return fmt.Errorf("Extend: %v, want ErrNotHeld", err)
				}
				return nil
			})
			if held.Err() == nil || !errors.Is(context.Cause(held), redlock.ErrNotHeld) {
				t.Errorf("the lock's context: %v, cause %v", held.Err(), context.Cause(held))
			}
			if err := lock.Unlock(ctx); !errors.Is(err, redlock.ErrNotHeld) {
				t.Errorf("Unlock: %v, want ErrNotHeld", err)
			}
			servers.WaitEmpty(t, time.Second, list...)
		})
		t.Run("majority hung and back", func(t *testing.T) {
			lock, err := locker.Lock(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			until := lock.Until()
			list[0].Pause(t)
			list[1].Pause(t)
			if err := lock.Extend(ctx, 20*time.Second); !errors.Is(err, redlock.ErrUnavailable) {
				t.Errorf("Extend: %v, want ErrUnavailable", err)
			}
			if !lock.Until().Equal(until) {
				t.Errorf("Until moved from %v to %v after a failed extension", until, lock.Until())
			}
			if err := lock.Err(); err != nil {
				t.Errorf("the lock is still valid, but Err says %v", err)
			}
			list[0].Resume(t)
			list[1].Resume(t)
			eventually(t, 3*time.Second, func() error { return lock.Extend(ctx, 20*time.Second) })
			if err := lock.Unlock(ctx); err != nil {
				t.Error(err)
			}
			servers.WaitEmpty(t, time.Second, list...)
		})
		t.Run("unlock with a majority hung", func(t *testing.T) {
			// A node that was just unavailable may not have been asked for the lock. The release
			// then knows that it is free there.
			var lock *redlock.Lock
			eventually(t, 3*time.Second, func() error {
				var err error
				if lock, err = locker.Lock(ctx, "k"); err != nil {
					return err
				}
				for _, s := range list {
					if !slices.Contains(s.Keys(t), "k") {
						return errors.Join(fmt.Errorf("%v does not have the lock", s), lock.Unlock(ctx))
					}
				}
				return nil
			})
			list[0].Pause(t)
			list[1].Pause(t)
			if err := lock.Unlock(ctx); !errors.Is(err, redlock.ErrUnavailable) {
				t.Errorf("Unlock: %v, want ErrUnavailable", err)
			}
			list[0].Resume(t)
			list[1].Resume(t)
			// The deletions go on after the caller has returned.
			servers.WaitEmpty(t, time.Second, list...)
		})
		t.Run("extends itself during a minority's outage", func(t *testing.T) {
			extended := make(chan error, 100)
			locker := a.locker(t, addrs(list), redlock.WithTTL(2*time.Second), redlock.WithAutoExtend(),
				redlock.WithHooks(redlock.Hooks{Extended: func(_ context.Context, e redlock.Event) { extended <- e.Err }}))
			lock, err := locker.Lock(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			held := lock.Context(ctx)
			list[2].Kill(t)
			// A single extension may fail if this machine stands still for longer than the node
			// timeout. The other extensions make up for it.
			for good, bad := 0, 0; good < 3; { // a third of the TTL each
				select {
				case err := <-extended:
					if err == nil {
						good++
						continue
					}
					t.Logf("an extension failed: %v", err)
					if bad++; bad > 2 {
						t.Fatalf("%d extensions failed, and %d did not", bad, good)
					}
				case <-held.Done():
					t.Fatalf("the lock was lost: %v", context.Cause(held))
				}
			}
			list[2].Start(t)
			if held.Err() != nil {
				t.Errorf("the lock was lost: %v", context.Cause(held))
			}
			if err := lock.Unlock(ctx); err != nil {
				t.Error(err)
			}
			servers.WaitEmpty(t, time.Second, list...)
		})
	})
}

// onAll returns an error unless one owner has the lock on all nodes.
func onAll(ctx context.Context, locker *redlock.Locker, key string) error {
	status, err := locker.Inspect(ctx, key)
	if err != nil {
		return err
	}
	for _, node := range status.Nodes {
		if node.State != redlock.StateHeld || node.Fingerprint != status.Fingerprint {
			return fmt.Errorf("not on all nodes: %v", status)
		}
	}
	return nil
}
