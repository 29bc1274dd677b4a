package redlock

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// WithWait limits everything that follows the first attempt: the attempt with which a wait
// begins, the one for the other keys after it, and the extension at the end. The error is
// that of a taken key, because that took the time.
func TestLockAllWait(t *testing.T) {
	const wait = 400 * time.Millisecond
	about := func(key string) func(backend.Op) bool {
		return func(op backend.Op) bool { return op.Key == key || slices.Contains(op.Keys, key) }
	}
	for _, tt := range []struct {
		name  string
		delay func(backend.Op) bool // these operations take 300 ms
		from  time.Duration         // from then on
		free  time.Duration         // when b is released; 0: never
		opts  []LockOption
		wants bool // it gets the keys
	}{
		{name: "the first attempt of the wait", delay: func(backend.Op) bool { return true }},
		{name: "the same while it polls", delay: func(backend.Op) bool { return true }, opts: []LockOption{WithRetry(Fixed(10 * time.Millisecond))}},
		{name: "the attempt for the other keys", delay: about("c"), from: time.Millisecond, free: 390 * time.Millisecond},
		{name: "the extension", delay: about("a"), from: 380 * time.Millisecond, free: 390 * time.Millisecond},
		{name: "nothing is slow", delay: func(backend.Op) bool { return false }, free: 390 * time.Millisecond, wants: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onRig(t, 3, false, func(t *testing.T, r *rig) {
				other := r.locker()
				b := r.lock(other, "b")
				l := r.locker(WithTTL(3*time.Second), WithNodeTimeout(375*time.Millisecond))
				r.lock(l, "warm").Unlock(t.Context())
				time.Sleep(time.Second)
				time.AfterFunc(tt.from, func() { r.setAll(faulty.On(tt.delay, faulty.Delay(300*time.Millisecond))) })
				if tt.free > 0 {
					time.AfterFunc(tt.free, func() { r.unlocks(b) })
				}
				time.Sleep(time.Nanosecond) // from 0 on
				start := time.Now()
				locks, err := l.LockAll(t.Context(), []string{"a", "b", "c"}, append(tt.opts, WithWait(wait))...)
				if tt.wants {
					took(t, start, 0, wait)
					if err != nil {
						t.Fatal(err)
					}
					_ = locks.Unlock(t.Context())
				} else {
					took(t, start, wait-time.Millisecond, wait)
					matches(t, err, ErrTaken)
					differs(t, err, ErrUnavailable, context.DeadlineExceeded)
					if e := (*QuorumError)(nil); !errors.As(err, &e) || e.Key != "b" || !strings.Contains(err.Error(), "waited for 400ms") {
						t.Errorf("%v, want one for the key b", err)
					}
				}
				r.clear()
				if tt.free == 0 {
					r.unlocks(b)
				}
				time.Sleep(time.Minute)
				r.clean(l)
			})
		})
	}
}

// TryLockAll makes no second attempt if the keys have expired before it returns, as after a
// suspend of the machine.
func TestTryLockAllExpired(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var advance func(time.Duration)
		attempts := 0
		l := r.locker(WithHooks(Hooks{
			Round: func(context.Context, Event) { attempts++ },
			Locked: func(context.Context, Event) {
				if attempts == 2 { // another attempt would succeed
					advance(time.Minute)
				}
			},
		}))
		advance = suspend(l)
		_, err := l.TryLockAll(t.Context(), []string{"a", "b"})
		matches(t, err, ErrUnavailable)
		if attempts != 2 || !strings.Contains(err.Error(), "granted too late") {
			t.Errorf("%d attempts for two keys: %v", attempts, err)
		}
		r.some("afterwards", nil, []string{"a", "b"})
		r.clean(l)
	})
}

// A key that is given back after its validity has ended, as after a suspend of the machine, was lost
// and not released.
func TestLockAllGivesBackLostKey(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		b := r.lock(r.locker(), "b")
		var told []string
		var advance func(time.Duration)
		note := func(what string) func(context.Context, Event) {
			return func(_ context.Context, e Event) { told = append(told, what+" "+e.Key) }
		}
		l := r.locker(WithHooks(Hooks{Lost: note("lost"), Unlocked: note("unlocked"), Locked: func(_ context.Context, e Event) {
			if e.Key == "a" {
				advance(time.Minute)
			}
		}}))
		advance = suspend(l)
		_, err := l.TryLockAll(t.Context(), []string{"a", "b"})
		matches(t, err, ErrTaken)
		if !slices.Equal(told, []string{"lost a"}) {
			t.Errorf("the hooks were told %q", told)
		}
		r.unlocks(b)
	})
}

// A key is extended while LockAll waits, also if it was lost and acquired again. A lock that ctx
// held before no longer extends itself after the call has failed.
func TestLockAllExtendsOnlyMeanwhile(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		other := r.locker()
		b := r.lock(other, "b", WithAutoExtend())
		locked := 0
		l := r.locker(WithHooks(Hooks{Locked: func(_ context.Context, e Event) {
			if e.Key == "a" {
				locked++
			}
		}}))
		time.AfterFunc(time.Second, func() { r.deletes("a") })
		time.AfterFunc(time.Minute, func() { r.unlocks(b) })
		locks, err := l.LockAll(t.Context(), []string{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		if locked != 2 {
			t.Errorf("a was acquired %d times, want twice, because it was deleted once", locked)
		}
		_ = locks.Unlock(t.Context())
		r.clean(l)
	})
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		b, l := r.lock(r.locker(), "b", WithAutoExtend()), r.locker()
		a := r.lock(l, "a")
		_, err := l.LockAll(a.Context(t.Context()), []string{"a", "b"}, WithReentrancy(), WithWait(time.Minute))
		matches(t, err, ErrTaken)
		if a.Err() != nil {
			t.Errorf("the lock of ctx was lost: %v", a.Err())
		}
		time.Sleep(2 * DefaultTTL)
		matches(t, a.Err(), ErrNotHeld)
		r.unlocks(b)
	})
}

// A Shutdown ends a LockAll that polls, which then acquires nothing again.
func TestLockAllShutdownWhileItPolls(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		var log logText
		b, l := r.lock(r.locker(), "b"), r.locker(WithLogger(log.logger()))
		wait := r.waiting(l, t.Context(), []string{"a", "b"}, WithRetry(Fixed(time.Minute)))
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		_, err := wait()
		matches(t, err, ErrClosed)
		if strings.Contains(log.String(), "acquired again") {
			t.Errorf("the log says:\n%s", &log)
		}
		r.unlocks(b)
	})
}

// If the hook Locked panics for one key, all keys are given back, and the hooks hear nothing more of
// those for which it was not called.
func TestLockAllLockedPanics(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		var told []string
		l := r.locker(WithHooks(Hooks{
			Locked:   func(context.Context, Event) { panic("mine") },
			Unlocked: func(_ context.Context, e Event) { told = append(told, e.Key) },
		}))
		func() {
			defer func() { _ = recover() }()
			_, _ = l.LockAll(t.Context(), []string{"a", "b"})
		}()
		if !slices.Equal(told, []string{"a"}) {
			t.Errorf("the hook Unlocked was called for %q", told)
		}
		r.some("afterwards", nil, []string{"a", "b"})
		r.clean(l)
	})
}

// A hook that panics in Unlock leaves nothing.
func TestLockAllEnds(t *testing.T) {
	part := func(name string, f func(t *testing.T, r *rig)) {
		t.Run(name, func(t *testing.T) { onRig(t, 3, false, f) })
	}
	part("Begin panics in Unlock", func(t *testing.T, r *rig) {
		l := r.locker(WithHooks(Hooks{Begin: func(ctx context.Context, e Event) context.Context {
			if e.Op == "unlock" && e.Key == "b" {
				panic("mine")
			}
			return ctx
		}}))
		func() {
			defer func() { _ = recover() }()
			_ = l.DoAll(t.Context(), []string{"a", "b", "c"}, func(context.Context) error { return nil })
		}()
		time.Sleep(time.Hour)
		for _, key := range []string{"a", "b", "c"} {
			if n := r.holders(key, ""); n != 0 {
				t.Errorf("%d nodes hold %s an hour later", n, key)
			}
		}
		_ = l.Shutdown(t.Context())
	})
}
