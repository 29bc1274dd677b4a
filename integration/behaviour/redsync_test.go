package behaviour

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A lock of redsync's goes on here with its value, and a lock of ours goes on with redsync, which
// finds it valid, extends it and unlocks it.
func TestHandsOverWithRedsync(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n)
				locker := a.locker(t, addrs(list))
				rs := redsync.New(redsyncPools(t, addrs(list))...)

				theirs := rs.NewMutex("k", redsync.WithExpiry(5*time.Second))
				if err := theirs.TryLockContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := locker.Resume(t.Context(), redlock.NewHandover("k", theirs.Value()+"x", 0)); !errors.Is(err, redlock.ErrNotHeld) {
					t.Errorf("resumed with another value: %v, want ErrNotHeld", err)
				}
				resumed, err := locker.Resume(t.Context(), redlock.NewHandover(theirs.Name(), theirs.Value(), 0), redlock.WithTTL(time.Minute))
				if err != nil {
					t.Fatal("resumed with redsync's value: ", err)
				}
				if !resumed.Until().After(theirs.Until().Add(30 * time.Second)) {
					t.Errorf("resumed until %v, redsync had it until %v; want it extended to a minute", resumed.Until(), theirs.Until())
				}
				if ok, err := valid(t, theirs); !ok || err != nil {
					t.Errorf("redsync, after we resumed its lock: valid %v, %v", ok, err)
				}
				if err := resumed.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
				if ok, _ := valid(t, theirs); ok {
					t.Error("redsync finds the lock valid after our unlock")
				}
				servers.WaitEmpty(t, time.Second, list...) // otherwise the last node may refuse what follows

				ours, err := locker.TryLock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				eventually(t, time.Second, func() error { return onAll(t.Context(), locker, "k") })
				if ok, _ := valid(t, rs.NewMutex("k", redsync.WithValue(theirs.Value()))); ok {
					t.Error("redsync finds our lock valid with another value")
				}
				mutex := rs.NewMutex(ours.Handover().Key(), redsync.WithValue(ours.Token()))
				if ok, err := valid(t, mutex); !ok || err != nil {
					t.Errorf("redsync, with our token: valid %v, %v", ok, err)
				}
				if ok, err := mutex.ExtendContext(t.Context()); !ok || err != nil {
					t.Errorf("redsync, with our token: extended %v, %v", ok, err)
				}
				if ok, err := mutex.UnlockContext(t.Context()); !ok || err != nil {
					t.Errorf("redsync, with our token: unlocked %v, %v", ok, err)
				}
				if _, err := ours.Check(t.Context()); !errors.Is(err, redlock.ErrNotHeld) {
					t.Errorf("after redsync unlocked our lock: %v, want ErrNotHeld", err)
				}
				servers.WaitEmpty(t, time.Second, list...)
			})
		}
	})
}

// If a caller of ours waits in the queue, a release leaves the lock to it, and redsync does not
// get it. If the caller polls, the lock is free for redsync too.
func TestOnlyQueuedWaitersComeFirst(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		holder := a.locker(t, addrs(list))
		mutex := redsync.New(redsyncPools(t, addrs(list))...).NewMutex("k")

		t.Run("queued", func(t *testing.T) {
			lock, err := holder.Lock(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := make(chan *redlock.Lock, 1)
			waiter := a.locker(t, addrs(list))
			go func() {
				lock, _ := waiter.Lock(ctx, "k")
				got <- lock
			}()
			eventually(t, 10*time.Second, func() error {
				if status, err := holder.Inspect(t.Context(), "k"); err != nil || status.Waiting < 1 {
					return fmt.Errorf("nobody is in the queue: %v, %w", status, err)
				}
				return nil
			})
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := mutex.TryLockContext(t.Context()); err == nil {
				t.Error("redsync got a lock for which a waiter was in the queue")
			}
			if next := receive(t, "result of the waiter", got); next == nil {
				t.Error("the waiter did not get the lock")
			} else if err := next.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
		t.Run("polling", func(t *testing.T) {
			lock, err := holder.Lock(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			waits, ended := make(chan struct{}), make(chan error, 1)
			waiter := a.locker(t, addrs(list), redlock.WithHooks(redlock.Hooks{Waiting: func(context.Context, redlock.Event) { close(waits) }}))
			go func() {
				_, err := waiter.Lock(ctx, "k", redlock.WithRetry(redlock.Fixed(time.Hour)))
				ended <- err
			}()
			receive(t, "call of the hook Waiting", waits)
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := mutex.TryLockContext(t.Context()); err != nil {
				t.Errorf("redsync did not get a lock for which a caller polls: %v", err)
			} else if ok, err := mutex.UnlockContext(t.Context()); !ok || err != nil {
				t.Errorf("redsync: unlock: %v, %v", ok, err)
			}
			cancel()
			if err := receive(t, "result of the polling caller", ended); !errors.Is(err, context.Canceled) {
				t.Errorf("the polling caller: %v, want that it was cancelled", err)
			}
			servers.WaitEmpty(t, time.Second, list...)
		})
	})
}

// valid reports whether the servers hold the mutex, according to redsync.
func valid(t *testing.T, mutex *redsync.Mutex) (bool, error) {
	//lint:ignore SA1019 users of redsync call it, and it asks the servers
	return mutex.ValidContext(t.Context())
}
