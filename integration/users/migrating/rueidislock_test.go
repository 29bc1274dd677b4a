package migrating

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/quorumlock/quorumlock/backend"
	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The code of docs/migrating/rueidislock.md works, and both libraries exclude each other on one
// key.
func TestRueidislock(t *testing.T) {
	list := servers.Start(t, servers.Any, 1)
	// Embedded servers lack what the driver's cache needs when it connects.
	option := rueidis.ClientOption{InitAddress: []string{list[0].Addr()}, ForceSingleClient: true, DisableCache: servers.AreEmbedded()}
	old, err := newRueidislock(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(old.Close)
	driver, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(driver.Close)
	locker, err := newBesideRueidislock(driver)
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]snippet{
		"before": func(ctx context.Context, work func(context.Context) error) error { return withContext(ctx, old, work) },
		"after":  func(ctx context.Context, work func(context.Context) error) error { return held(ctx, locker, work) },
		"both": func(ctx context.Context, work func(context.Context) error) error {
			return both(ctx, old, unprefixed(t, driver), work)
		},
	} {
		t.Run(name, func(t *testing.T) { worksUnderTheLock(t, run, list, "rueidislock:0:orders/42") })
	}
	t.Run("taken", func(t *testing.T) {
		ctx, cancel, err := old.TryWithContext(t.Context(), "orders/42")
		if err != nil {
			t.Fatal(err)
		}
		if locked, err := try(ctx, locker); locked || err != nil {
			t.Errorf("Quorumlock, while rueidislock has the lock: %v, %v", locked, err)
		}
		cancel()
		lock, err := locker.TryLock(t.Context(), "orders/42")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := old.TryWithContext(t.Context(), "orders/42"); !errors.Is(err, rueidislock.ErrNotLocked) {
			t.Errorf("rueidislock, while we have the lock: %v", err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, waitEmpty, list...)
	})
}

// unprefixed returns a Locker whose keys are not those of rueidislock.
func unprefixed(t *testing.T, client rueidis.Client) *redlock.Locker {
	t.Helper()
	locker, err := redlock.New([]backend.Node{rueidisnode.New(client)})
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

func newRueidislock(option rueidis.ClientOption) (rueidislock.Locker, error) {
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: option,
		KeyMajority:  1, // one key
		KeyValidity:  5 * time.Second,
	})
	return locker, err
}

func newBesideRueidislock(client rueidis.Client) (*redlock.Locker, error) {
	locker, err := redlock.New([]backend.Node{rueidisnode.New(client)},
		redlock.WithTTL(5*time.Second),
		redlock.WithKeyPrefix("rueidislock:0:")) // the key of rueidislock with KeyMajority 1
	return locker, err
}

func withContext(ctx context.Context, locker rueidislock.Locker, work func(context.Context) error) error {
	ctx, cancel, err := locker.WithContext(ctx, "orders/42")
	if err != nil {
		return err
	}
	defer cancel()
	return work(ctx)
}

func held(ctx context.Context, locker *redlock.Locker, work func(context.Context) error) error {
	return locker.Do(ctx, "orders/42", work) // ctx limits the wait and the work, as with rueidislock
}

func both(ctx context.Context, old rueidislock.Locker, locker *redlock.Locker, work func(context.Context) error) error {
	ctx, cancel, err := old.WithContext(ctx, "orders/42")
	if err != nil {
		return err
	}
	defer cancel()
	return locker.Do(ctx, "orders/42", work)
}
