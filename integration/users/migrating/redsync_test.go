package migrating

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// waitEmpty is how long the last deletion of an unlock may take.
const waitEmpty = 2 * time.Second

// The code of docs/migrating/redsync.md works, and so does that of each library on the locks of
// the other.
func TestRedsync(t *testing.T) {
	list := servers.Start(t, servers.Any, 3)
	rs := newRedsync(client(t, list[0]), client(t, list[1]), client(t, list[2]))
	locker, err := newLocker(client(t, list[0]), client(t, list[1]), client(t, list[2]))
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]snippet{
		"before": func(ctx context.Context, work func(context.Context) error) error { return redsyncLock(ctx, rs, work) },
		"after":  func(ctx context.Context, work func(context.Context) error) error { return lock(ctx, locker, work) },
		"do":     func(ctx context.Context, work func(context.Context) error) error { return do(ctx, locker, work) },
		"beside redsync": func(ctx context.Context, work func(context.Context) error) error {
			return locker.Do(ctx, "orders/42", work, waiting(true)...)
		},
	} {
		t.Run(name, func(t *testing.T) { worksUnderTheLock(t, run, list, "orders/42") })
	}
	t.Run("taken", func(t *testing.T) {
		mutex := rs.NewMutex("orders/42")
		if err := mutex.TryLockContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ran, err := redsyncTry(t.Context(), rs); ran || err != nil {
			t.Errorf("redsync: %v, %v", ran, err)
		}
		if ran, err := try(t.Context(), locker); ran || err != nil {
			t.Errorf("Quorumlock: %v, %v", ran, err)
		}
		lock, err := fromRedsync(t.Context(), locker, mutex)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock.Check(t.Context()); err != nil {
			t.Error(err)
		}
		back := toRedsync(rs, lock)
		//lint:ignore SA1019 users of redsync call it, and it asks the servers
		if ok, err := back.ValidContext(t.Context()); !ok || err != nil {
			t.Errorf("redsync finds our lock valid: %v, %v", ok, err)
		}
		if ok, err := back.ExtendContext(t.Context()); !ok || err != nil {
			t.Errorf("redsync extends our lock: %v, %v", ok, err)
		}
		if ok, err := back.UnlockContext(t.Context()); !ok || err != nil {
			t.Errorf("redsync unlocks our lock: %v, %v", ok, err)
		}
		if ran, err := redsyncTry(t.Context(), rs); !ran || err != nil {
			t.Errorf("redsync, afterwards: %v, %v", ran, err)
		}
		if ran, err := try(t.Context(), locker); !ran || err != nil {
			t.Errorf("Quorumlock, afterwards: %v, %v", ran, err)
		}
		servers.WaitEmpty(t, waitEmpty, list...)
	})
}

func newRedsync(first, second, third *redis.Client) *redsync.Redsync {
	rs := redsync.New(
		redsyncgoredis.NewPool(first),
		redsyncgoredis.NewPool(second),
		redsyncgoredis.NewPool(third),
	)
	return rs
}

func newLocker(first, second, third *redis.Client) (*redlock.Locker, error) {
	locker, err := redlock.New([]backend.Node{
		goredis.New(first),
		goredis.New(second),
		goredis.New(third),
	})
	return locker, err
}

func redsyncLock(ctx context.Context, rs *redsync.Redsync, work func(context.Context) error) error {
	mutex := rs.NewMutex("orders/42", redsync.WithExpiry(8*time.Second))
	if err := mutex.LockContext(ctx); err != nil {
		return err
	}
	defer mutex.UnlockContext(context.WithoutCancel(ctx))
	return work(ctx) // for at most 8 s
}

func lock(ctx context.Context, locker *redlock.Locker, work func(context.Context) error) error {
	lock, err := locker.Lock(ctx, "orders/42", redlock.WithTTL(8*time.Second), redlock.WithWait(5*time.Second))
	if err != nil {
		return err
	}
	defer lock.Unlock(ctx)         // is sent even if ctx has ended
	return work(lock.Context(ctx)) // this ctx ends before the lock does
}

func do(ctx context.Context, locker *redlock.Locker, work func(context.Context) error) error {
	return locker.Do(ctx, "orders/42", work, redlock.WithWait(5*time.Second))
}

func redsyncTry(ctx context.Context, rs *redsync.Redsync) (locked bool, err error) {
	mutex := rs.NewMutex("orders/42")
	err = mutex.TryLockContext(ctx)
	var taken *redsync.ErrTaken // LockContext can also return redsync.ErrFailed
	if errors.As(err, &taken) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if ok, err := mutex.UnlockContext(ctx); !ok {
		return true, err
	}
	return true, nil
}

func try(ctx context.Context, locker *redlock.Locker) (locked bool, err error) {
	lock, err := locker.TryLock(ctx, "orders/42")
	if errors.Is(err, redlock.ErrTaken) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, lock.Unlock(ctx)
}

func fromRedsync(ctx context.Context, locker *redlock.Locker, mutex *redsync.Mutex) (*redlock.Lock, error) {
	lock, err := locker.Resume(ctx, redlock.NewHandover(mutex.Name(), mutex.Value(), 0))
	return lock, err
}

func toRedsync(rs *redsync.Redsync, lock *redlock.Lock) *redsync.Mutex {
	mutex := rs.NewMutex(lock.Handover().Key(), redsync.WithValue(lock.Token()))
	return mutex
}

// waiting returns the options for a call that waits for a lock.
func waiting(besideOldLibrary bool) []redlock.LockOption {
	opts := []redlock.LockOption{redlock.WithWait(5 * time.Second)}
	if besideOldLibrary {
		opts = append(opts, redlock.WithRetry(redlock.Fixed(300*time.Millisecond).Jitter().ThenQueue(2*time.Second)))
	}
	return opts
}
