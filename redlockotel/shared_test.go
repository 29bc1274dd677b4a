package redlockotel_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// The metrics and spans of shared locks have the attribute redlock.shared. Those of other locks
// do not have it.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t, []redlock.Option{redlock.WithTTL(3 * time.Second)})
		ctx := t.Context()
		must := func(lock *redlock.Lock, err error) *redlock.Lock {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return lock
		}

		// A writer waits for two readers, and then a reader for it.
		one, two := must(o.RLock(ctx, "r/1")), must(o.TryRLock(ctx, "r/1"))
		if _, err := o.TryLock(ctx, "r/1"); err == nil {
			t.Fatal("a writer beside readers")
		}
		waited := make(chan *redlock.Lock)
		go func() {
			lock, _ := o.Lock(ctx, "r/1")
			waited <- lock
		}()
		time.Sleep(time.Millisecond)
		_, _ = one.Unlock(ctx), two.Unlock(ctx)
		writer := <-waited
		go func() {
			lock, _ := o.RLock(ctx, "r/1")
			waited <- lock
		}()
		time.Sleep(time.Millisecond)
		if values, _ := o.series(t); values["redlock.lock.waiters redlock.key.class=r redlock.shared=true"] != 1 {
			t.Errorf("a reader waits, but the metrics have %v", values)
		}
		_ = writer.Unlock(ctx)
		reader := <-waited
		time.Sleep(time.Millisecond)
		_ = reader.Unlock(ctx)

		// One that shares while a function runs, and one that is handed over.
		_ = o.DoShared(ctx, "d/1", func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil })
		_ = o.Release(ctx, must(o.RLock(ctx, "h/1")).Handover())

		// A downgrade, from which on the lock is a shared one.
		down := must(o.Lock(ctx, "w/1"))
		if err := down.Downgrade(ctx); err != nil {
			t.Fatal(err)
		}
		if values, _ := o.series(t); values["redlock.lock.losses redlock.key.class=w redlock.loss.cause=gone redlock.shared=true"] != 0 ||
			!slices.Contains(slices.Collect(maps.Keys(values)), "redlock.lock.losses redlock.key.class=w redlock.loss.cause=gone redlock.shared=true") {
			t.Errorf("the counter of losses does not begin before the first loss: %v", values)
		}
		for _, m := range o.mem {
			m.Flush()
		}
		_ = down.Extend(ctx, 3*time.Second)
		settle()

		values, _ := o.series(t)
		for name, n := range map[string]int{
			"redlock.lock.wait.duration redlock.key.class=r redlock.operation=lock redlock.shared=true":                   2,
			"redlock.lock.wait.duration redlock.key.class=r redlock.operation=try_lock redlock.shared=true":               1,
			"redlock.lock.wait.duration redlock.key.class=r redlock.operation=lock":                                       1,
			"redlock.lock.wait.duration error.type=taken redlock.key.class=r redlock.operation=try_lock":                  1,
			"redlock.lock.wait.duration redlock.key.class=d redlock.operation=lock redlock.shared=true":                   1,
			"redlock.lock.wait.duration redlock.key.class=w redlock.operation=lock":                                       1,
			"redlock.lock.attempts redlock.key.class=r redlock.operation=try_lock redlock.shared=true":                    1,
			"redlock.lock.waiters redlock.key.class=r redlock.shared=true":                                                0,
			"redlock.lock.waiters redlock.key.class=r":                                                                    0,
			"redlock.lock.hold.duration redlock.key.class=r redlock.shared=true":                                          3,
			"redlock.lock.hold.duration redlock.key.class=r":                                                              1,
			"redlock.lock.hold.duration redlock.key.class=w redlock.loss.cause=gone redlock.shared=true":                  1,
			"redlock.lock.unlocks redlock.key.class=r redlock.operation=unlock redlock.shared=true":                       3,
			"redlock.lock.unlocks redlock.key.class=r redlock.operation=unlock":                                           1,
			"redlock.lock.unlocks redlock.key.class=h redlock.operation=release redlock.shared=true":                      1,
			"redlock.lock.extensions redlock.automatic=true redlock.key.class=d redlock.shared=true":                      1,
			"redlock.lock.extensions redlock.automatic=false redlock.key.class=w redlock.shared=true":                     1,
			"redlock.lock.losses redlock.key.class=w redlock.loss.cause=gone redlock.shared=true":                         1,
			"redlock.lock.losses redlock.key.class=w redlock.loss.cause=gone":                                             0,
			"redlock.lock.extensions error.type=not_held redlock.automatic=false redlock.key.class=w redlock.shared=true": 1,
		} {
			if got, ok := values[name]; got != n || !ok {
				t.Errorf("%s: %d, want %d", name, got, n)
			}
		}
		for name := range values { // nodes do not know who shares
			if strings.Contains(name, "redlock.shared=") && (strings.HasPrefix(name, "redlock.node.") || !strings.HasSuffix(name, "=true")) {
				t.Errorf("unexpected: %s", name)
			}
		}

		shared := make(map[string]int) // spans by their name and attribute
		for _, s := range o.spans.Ended() {
			shared[s.Name()+" "+value(s.Attributes(), "redlock.shared")]++
		}
		want := map[string]int{
			"redlock lock true": 4, "redlock lock missing": 2, "redlock try_lock true": 1, "redlock try_lock missing": 1,
			"redlock unlock true": 4, "redlock unlock missing": 1, "redlock release true": 1,
			"redlock extend true": 2, "redlock lost true": 1,
		}
		if !maps.Equal(shared, want) {
			t.Errorf("spans %v, want %v", shared, want)
		}
		_ = o.Close(ctx)
		settle()
	})
}
