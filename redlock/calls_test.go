package redlock

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// Every call is used again, whether it is rejected before any I/O, fails or succeeds.
func TestCallsAreUsedAgain(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector, a sync.Pool drops a quarter of what it gets")
	}
	r := newRig(t, 1, false)
	l := r.locker()
	bare, err := New([]backend.Node{faulty.Bare(r.nodes[0])})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	over, cancel := context.WithCancel(ctx)
	cancel()
	r.lock(l, "taken")
	held := r.lock(l, "held")
	within := held.Context(ctx)
	shared, err := l.RLock(ctx, "shared")
	if err != nil {
		t.Fatal(err)
	}
	reads := shared.Context(ctx)
	stale := r.lock(l, "stale")
	if err := stale.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	mutex, locked := l.Mutex("mutex"), l.Mutex("locked")
	if err := locked.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	keys := []string{"a", "b", "c"}
	for what, call := range map[string]func() error{
		"Lock, ctx has ended":     func() error { _, err := l.Lock(over, "a"); return err },
		"Lock":                    func() error { lock, _ := l.Lock(ctx, "a"); return lock.Unlock(ctx) },
		"Lock in itself":          func() error { _, err := l.Lock(within, "held"); return err },
		"Lock in a shared one":    func() error { _, err := l.Lock(reads, "shared", WithReentrancy()); return err },
		"nested Lock":             func() error { lock, _ := l.Lock(within, "held", WithReentrancy()); return lock.Unlock(ctx) },
		"TryLock, taken":          func() error { _, err := l.TryLock(ctx, "taken"); return err },
		"TryRLock, taken":         func() error { _, err := l.TryRLock(ctx, "taken"); return err },
		"RLock of a permit":       func() error { _, err := l.RLock(ctx, "a{a}:permits:1"); return err },
		"RLock of nodes without":  func() error { _, err := bare.RLock(ctx, "a"); return err },
		"fencing without scripts": func() error { _, err := bare.Lock(ctx, "a", WithFencing()); return err },
		"Acquire":                 func() error { lock, _ := l.Semaphore("a", 2).Acquire(ctx); return lock.Unlock(ctx) },
		"Acquire, ctx has ended":  func() error { _, err := l.Semaphore("a", 2).Acquire(over); return err },
		"LockAll":                 func() error { locks, _ := l.LockAll(ctx, keys); return locks.Unlock(ctx) },
		"LockAll, minimum hold": func() error {
			locks, _ := l.LockAll(ctx, keys, WithMinHold(time.Millisecond))
			err := locks.Unlock(ctx)
			time.Sleep(2 * time.Millisecond)
			return err
		},
		"LockAll of one key":  func() error { locks, _ := l.LockAll(ctx, keys[:1]); return locks.Unlock(ctx) },
		"TryLockAll, taken":   func() error { _, err := l.TryLockAll(ctx, []string{"a", "taken"}); return err },
		"LockAll, a bad key":  func() error { _, err := l.LockAll(ctx, []string{"a", "b{b}:queue"}); return err },
		"LockAll in itself":   func() error { _, err := l.LockAll(within, []string{"a", "held"}); return err },
		"LockAll, not sorted": func() error { _, err := l.LockAll(within, []string{"a", "b"}); return err },
		"Resume":              func() error { _, err := l.Resume(ctx, held.Handover()); return err },
		"Resume, not held":    func() error { _, err := l.Resume(ctx, stale.Handover()); return err },
		"Mutex.Lock":          func() error { _ = mutex.Lock(ctx); return mutex.Unlock(ctx) },
		"Mutex.TryLock":       func() error { _ = mutex.TryLock(ctx); return mutex.Unlock(ctx) },
		"Mutex.TryRLock":      func() error { _ = mutex.TryRLock(ctx); return mutex.RUnlock(ctx) },
		"Mutex, locked":       func() error { return locked.TryLock(ctx) },
	} {
		const times = 100
		made := 0
		// A pool that is empty makes the first call that is taken from it.
		l.calls = sync.Pool{New: func() any { made++; return nil }}
		bare.calls = sync.Pool{New: l.calls.New}
		var err error
		for range times {
			err = call()
		}
		t.Logf("%s: %d calls, %v", what, made, err)
		if err == nil && made == 0 {
			t.Errorf("%s: no call was taken from the pool", what)
		}
		if made > times/4 { // the garbage collector takes some
			t.Errorf("%s: %d of %d calls were made anew", what, made, times)
		}
	}
}
