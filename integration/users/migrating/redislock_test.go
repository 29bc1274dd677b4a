package migrating

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The code of docs/migrating/redislock.md works, and so does that of each library on the locks of
// the other.
func TestRedislock(t *testing.T) {
	list := servers.Start(t, servers.Any, 1)
	old := redislock.New(client(t, list[0]))
	locker, err := single(client(t, list[0]))
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]snippet{
		"before": func(ctx context.Context, work func(context.Context) error) error { return obtain(ctx, old, work) },
		"after":  func(ctx context.Context, work func(context.Context) error) error { return obtained(ctx, locker, work) },
	} {
		t.Run(name, func(t *testing.T) { worksUnderTheLock(t, run, list, "orders/42") })
	}
	t.Run("taken", func(t *testing.T) {
		theirs, err := old.Obtain(t.Context(), "orders/42", time.Minute, &redislock.Options{Metadata: "host 1"})
		if err != nil {
			t.Fatal(err)
		}
		if locked, err := try(t.Context(), locker); locked || err != nil {
			t.Errorf("Quorumlock, while redislock has the lock: %v, %v", locked, err)
		}
		ours, err := fromRedislock(t.Context(), locker, theirs)
		if err != nil {
			t.Fatal(err)
		}
		if err := ours.Unlock(t.Context()); err != nil {
			t.Error(err)
		}

		ours, err = locker.TryLock(t.Context(), "orders/42")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Obtain(t.Context(), "orders/42", time.Minute, nil); !errors.Is(err, redislock.ErrNotObtained) {
			t.Errorf("redislock, while we have the lock: %v", err)
		}
		theirs, err = toRedislock(t.Context(), old, ours)
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Release(t.Context()); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, waitEmpty, list...)
	})
}

func single(client *redis.Client) (*redlock.Locker, error) {
	locker, err := redlock.New([]backend.Node{goredis.New(client)})
	return locker, err
}

func obtain(ctx context.Context, client *redislock.Client, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // otherwise Obtain waits for one TTL
	defer cancel()
	lock, err := client.Obtain(ctx, "orders/42", 10*time.Second, &redislock.Options{
		RetryStrategy: redislock.LinearBackoff(100 * time.Millisecond),
		Metadata:      "host 1",
	})
	if err != nil {
		return err // ErrNotObtained, or that of ctx
	}
	defer lock.Release(context.WithoutCancel(ctx))
	return work(ctx)
}

func obtained(ctx context.Context, locker *redlock.Locker, work func(context.Context) error) error {
	lock, err := locker.Lock(ctx, "orders/42", redlock.WithTTL(10*time.Second),
		redlock.WithWait(5*time.Second), redlock.WithOwner("host 1"))
	if err != nil {
		return err // ErrTaken or ErrUnavailable
	}
	defer lock.Unlock(ctx) // is sent even if ctx has ended
	return work(lock.Context(ctx))
}

func fromRedislock(ctx context.Context, locker *redlock.Locker, theirs *redislock.Lock) (*redlock.Lock, error) {
	lock, err := locker.Resume(ctx, redlock.NewHandover(theirs.Key(), theirs.Token()+theirs.Metadata(), 0))
	return lock, err
}

func toRedislock(ctx context.Context, client *redislock.Client, ours *redlock.Lock) (*redislock.Lock, error) {
	lock, err := client.Obtain(ctx, ours.Handover().Key(), 10*time.Second, &redislock.Options{Token: ours.Token()})
	return lock, err
}
