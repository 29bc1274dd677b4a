package migrating

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The code of docs/migrating/others.md works.
func TestOthers(t *testing.T) {
	list := servers.Start(t, servers.Any, 1)
	locker, err := single(client(t, list[0]))
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]snippet{
		"leased":       func(ctx context.Context, work func(context.Context) error) error { return leased(ctx, locker, work) },
		"several keys": func(ctx context.Context, work func(context.Context) error) error { return several(ctx, locker, work) },
	} {
		t.Run(name, func(t *testing.T) { worksUnderTheLock(t, run, list, "orders/42") })
	}
}

// leased is tryLock(100, 10, TimeUnit.SECONDS) of Redisson, and blocking_timeout=100, timeout=10
// of redis-py.
func leased(ctx context.Context, locker *redlock.Locker, work func(context.Context) error) error {
	lock, err := locker.Lock(ctx, "orders/42", redlock.WithWait(100*time.Second), redlock.WithTTL(10*time.Second))
	switch {
	case errors.Is(err, redlock.ErrTaken):
		return nil // somebody else had the lock for 100 s
	case err != nil:
		return err
	}
	defer lock.Unlock(ctx)
	return work(lock.Context(ctx)) // ends after 10 s at the latest, unless lock.Extend is called
}

// several locks two keys, as RedissonMultiLock and node-redlock do.
func several(ctx context.Context, locker *redlock.Locker, work func(context.Context) error) error {
	return locker.DoAll(ctx, []string{"customers/7", "orders/42"}, work)
}
