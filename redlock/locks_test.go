package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// With re-entrancy, keys that ctx holds are entered. They stay locked when the nested call ends,
// and when it fails.
func TestLockAllEntersWhatCtxHolds(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lockAll(l, []string{"a", "b"}, WithAutoExtend())
		ctx := outer.Context(t.Context())
		inner, err := l.LockAll(ctx, []string{"c", "b", "d"})
		if err != nil {
			t.Fatal(err)
		}
		r.some("nested", []string{"a", "b", "c", "d"}, nil)
		r.quiet("all keys are held", func() {
			again, err := l.LockAll(inner.Context(ctx), []string{"a", "b", "c", "d"}, WithTTL(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Unlock(ctx); err != nil {
				t.Error(err)
			}
		})
		if err := inner.Unlock(ctx); err != nil {
			t.Error(err)
		}
		r.some("after the nested Unlock", []string{"a", "b"}, []string{"c", "d"})
		if ctx.Err() != nil {
			t.Error(context.Cause(ctx))
		}

		other := r.locker(WithAutoExtend())
		d := r.lock(other, "d")
		_, err = l.LockAll(ctx, []string{"b", "c", "d"}, WithWait(time.Minute))
		matches(t, err, ErrTaken)
		r.some("after a nested call that failed", []string{"a", "b", "d"}, []string{"c"})
		if ctx.Err() != nil {
			t.Error(context.Cause(ctx))
		}
		r.unlocks(d)
		if err := outer.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// A nested call extends the locks of ctx while it waits, although they do not extend themselves,
// and to its own TTL before it returns.
func TestLockAllExtendsWhatCtxHolds(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithReentrancy()), r.locker(WithAutoExtend())
		outer := r.lock(l, "a")
		ctx := outer.Context(t.Context())
		b := r.lock(other, "b")
		wait := r.waiting(l, ctx, []string{"a", "b"}, WithTTL(time.Minute))
		time.Sleep(50 * time.Second)
		r.some("while it waits", []string{"a", "b"}, nil)
		r.unlocks(b)
		locks, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(locks.Until()); left < 50*time.Second {
			t.Errorf("%v are left", left)
		}
		time.Sleep(2 * time.Minute)
		if locks.Err() == nil || outer.Err() == nil {
			t.Error("the locks extend themselves, without the option")
		}
		_ = locks.Unlock(t.Context())
		_ = outer.Unlock(t.Context())
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// If the lock of ctx is lost while a nested call waits, the call fails: it must not acquire
// again what its caller believes to hold.
func TestLockAllFailsIfTheLockOfCtxIsLost(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithReentrancy()), r.locker(WithAutoExtend())
		outer := r.lock(l, "a", WithAutoExtend())
		ctx := context.WithoutCancel(outer.Context(t.Context()))
		b := r.lock(other, "b")
		wait := r.waiting(l, ctx, []string{"a", "b"})
		r.deletes("a")
		_, err := wait()
		matches(t, err, ErrNotHeld)
		if e := (*QuorumError)(nil); !errors.As(err, &e) || e.Key != "a" {
			t.Errorf("%v, want one for the key a", err)
		}
		r.quiet("a call after that", func() {
			_, err := l.LockAll(ctx, []string{"a", "b"})
			matches(t, err, ErrNotHeld)
		})
		_ = outer.Unlock(t.Context())
		r.unlocks(b)
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// A call that loses its first key while it waits stays in the locks of ctx: otherwise it would
// wait for its own caller.
func TestLockAllStaysInWhatCtxHolds(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithReentrancy()), r.locker(WithAutoExtend())
		outer := r.lock(l, "b", WithAutoExtend())
		ctx := context.WithoutCancel(outer.Context(t.Context()))
		c := r.lock(other, "c")
		wait := r.waiting(l, ctx, []string{"a", "b", "c"}, WithWait(time.Minute))
		r.deletes("a")
		time.Sleep(5 * time.Second) // until the next extension
		r.unlocks(c)
		locks, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		if err := locks.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		r.some("after the nested Unlock", []string{"b"}, []string{"a", "c"})
		if err := outer.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// A call that would wait for a key which sorts before one that ctx holds is rejected before any
// I/O, with the advice; one that does not wait is not. So is a call for a key that ctx holds
// without re-entrancy, and one with fencing whose outer lock has no token.
func TestLockAllRejectsWhatBreaksTheOrder(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithLogger(log.logger()))
		outer := r.lockAll(l, []string{"b", "c"}, WithAutoExtend())
		ctx := outer.Context(t.Context())
		type value struct{}
		ctx = r.lock(l, "d").Context(context.WithValue(ctx, value{}, 1))
		r.quiet("rejected calls", func() {
			for name, tt := range map[string]struct {
				keys []string
				opts []LockOption
				want string
			}{
				"before all":       {[]string{"a", "e"}, nil, `"a": the key sorts before "d", which ctx holds`},
				"between":          {[]string{"bb", "e"}, nil, `"bb": the key sorts before "d"`},
				"re-entrant":       {[]string{"a", "b", "c"}, []LockOption{WithReentrancy()}, `"a": the key sorts before "d"`},
				"not re-entrant":   {[]string{"b", "e"}, nil, "the call would wait for itself"},
				"no fencing token": {[]string{"b", "e"}, []LockOption{WithReentrancy(), WithFencing()}, "no fencing token"},
			} {
				if _, err := l.LockAll(ctx, tt.keys, tt.opts...); err == nil || !strings.Contains(err.Error(), tt.want) {
					if r.bare && name == "no fencing token" {
						continue // such nodes cannot fence at all
					}
					t.Errorf("%s: %v, want %q", name, err, tt.want)
				}
			}
		})
		if err := must(l.TryLockAll(ctx, []string{"a", "e"}))(t).Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := must(l.LockAll(ctx, []string{"e", "f"}))(t).Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "sorts before") {
			t.Error("a warning without a reason")
		}
		if err := must(l.LockAll(context.WithoutCancel(ctx), []string{"a", "e"}))(t).Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "sorts before") {
			t.Errorf("no warning about a detached ctx:\n%s", &log)
		}
		ended := must(l.TryLockAll(t.Context(), []string{"z"}))(t)
		past := ended.Context(t.Context())
		_ = ended.Unlock(t.Context())
		if err := must(l.LockAll(context.WithoutCancel(past), []string{"y"}))(t).Unlock(t.Context()); err != nil {
			t.Error(err) // what ctx no longer holds does not count
		}
	})
}

// Each key is a lock of its own for the hooks: Locked when it is acquired, then Extended, and
// Unlocked or Lost once. If the call fails, Locked says so for each key that it did not acquire.
func TestLockAllHooks(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var h told
		l, other := r.locker(WithHooks(h.hooks()), WithTTL(30*time.Second)), r.locker(WithAutoExtend())
		check := func(when string, want ...string) []Event {
			t.Helper()
			synctest.Wait()
			kinds, events := h.take()
			for i, e := range events {
				kinds[i] += " " + e.Key
				if e.Err != nil {
					kinds[i] += " failed"
				}
			}
			slices.Sort(kinds) // keys are extended and unlocked together
			if !slices.Equal(kinds, want) {
				t.Errorf("%s: %q, want %q", when, kinds, want)
			}
			return events
		}
		locks := r.lockAll(l, []string{"a", "b"})
		check("TryLockAll", "locked a", "locked b")
		time.Sleep(time.Second)
		if err := locks.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, e := range check("Unlock", "unlocked a", "unlocked b") {
			if e.Held != time.Second {
				t.Errorf("%s was held for %v", e.Key, e.Held)
			}
		}
		b := r.lock(other, "b")
		_, err := l.TryLockAll(t.Context(), []string{"a", "b", "c"})
		matches(t, err, ErrTaken)
		check("TryLockAll failed", "locked a", "locked b failed", "locked c failed", "unlocked a")

		waits := 0
		l = must(l.With(WithHooks(Hooks{Waiting: func(_ context.Context, e Event) {
			waits++
			if e.Key != "b" || e.Err == nil {
				t.Errorf("waiting for %s: %v", e.Key, e.Err)
			}
		}})))(t)
		wait := r.waiting(l, t.Context(), []string{"a", "b", "c"})
		check("waiting", "locked a")
		time.Sleep(10 * time.Second)
		check("extended", "extended a")
		r.deletes("a")
		time.Sleep(14 * time.Second)
		check("lost", "extended a failed", "locked a", "lost a failed")
		r.unlocks(b)
		locks = must(wait())(t)
		if n := len(check("acquired", "extended a", "locked b", "locked c")); n != 3 || waits != 1 {
			t.Errorf("%d events, waited %d times", n, waits)
		}
		if err := locks.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("Unlock", "unlocked a", "unlocked b", "unlocked c")
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// Every acquisition of a key begins once and ends once, and so does every release, also when
// the call fails, and when it acquires a key again.
func TestLockAllHooksBegin(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var c calls
		l, other := r.locker(WithHooks(c.hooks()), WithReentrancy()), r.locker(WithAutoExtend())
		b := r.lock(other, "b")
		_, err := l.TryLockAll(t.Context(), []string{"a", "b", "c"})
		matches(t, err, ErrTaken)
		wait := r.waiting(l, t.Context(), []string{"a", "b", "c"})
		r.deletes("a")
		time.Sleep(5 * time.Second) // until the next extension
		r.unlocks(b)
		locks := must(wait())(t)
		again := must(l.LockAll(locks.Context(t.Context()), []string{"a", "b", "d"}))(t)
		for _, l := range []*Locks{again, locks} {
			if err := l.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
		c.mu.Lock()
		defer c.mu.Unlock()
		for n := 1; n <= c.begun; n++ {
			if c.ends[n] != 1 {
				t.Errorf("call %d ended %d times", n, c.ends[n])
			}
		}
		if c.ends[0] != 0 || c.begun < 12 {
			t.Errorf("%d calls began, and %d ended that had not begun:\n%s", c.begun, c.ends[0], strings.Join(c.lines, "\n"))
		}
	})
}

// A hook that panics during the call reaches the caller, and nothing stays locked.
func TestLockAllHookPanics(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithHooks(Hooks{Locked: func(_ context.Context, e Event) {
			if e.Key == "b" {
				panic("mine")
			}
		}}))
		func() {
			defer func() {
				if v := recover(); v != "mine" {
					t.Errorf("recovered %v", v)
				}
			}()
			_, _ = l.LockAll(t.Context(), []string{"a", "b", "c"})
		}()
		r.clean(l)
	})
}

// A minimum hold counts for each key from when all are held. Keys that a failed call gives back
// are free at once.
func TestLockAllMinHold(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithMinHold(time.Minute)), r.locker(WithAutoExtend())
		b := r.lock(other, "b")
		_, err := l.TryLockAll(t.Context(), []string{"a", "b", "c"})
		matches(t, err, ErrTaken)
		r.some("after a call that failed", []string{"b"}, []string{"a", "c"})
		wait := r.waiting(l, t.Context(), []string{"a", "b", "c"})
		time.Sleep(40 * time.Second)
		r.unlocks(b)
		locks := must(wait())(t)
		if err := locks.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(59 * time.Second)
		r.some("a minute after all were held", locks.Keys(), nil)
		time.Sleep(2 * time.Second)
		r.some("after the minimum hold", nil, locks.Keys())
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// A maximal hold counts from when all keys are held, however long the call waited.
func TestLockAllMaxHold(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(), r.locker(WithAutoExtend())
		b := r.lock(other, "b")
		wait := r.waiting(l, t.Context(), []string{"a", "b"}, WithAutoExtend(), WithMaxHold(time.Minute))
		time.Sleep(3 * time.Minute)
		r.unlocks(b)
		locks := must(wait())(t)
		start := time.Now()
		<-locks.Context(t.Context()).Done()
		took(t, start, 58*time.Second, time.Minute)
		time.Sleep(2 * time.Second)
		_ = locks.Unlock(t.Context())
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// Each key has a fencing token of its own. A context of several keys has none, and so hides that
// of an outer lock; one of a single key has the token of that key.
func TestLockAllFencing(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			l := r.locker(WithFencing())
			r.lock(l, "b").Unlock(t.Context())
			time.Sleep(time.Second)
			first := r.lockAll(l, []string{"a", "b"})
			a, b := first.Fence("a"), first.Fence("b")
			if a == 0 || b == 0 || first.Handover("a").Fence() != a {
				t.Errorf("tokens %d and %d, handed over %d", a, b, first.Handover("a").Fence())
			}
			outer := r.lock(l, "0").Context(t.Context())
			if n := FenceFromContext(first.Context(outer)); n != 0 {
				t.Errorf("the context of both has the token %d", n)
			}
			if err := first.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := r.lockAll(l, []string{"b"})
			if n := second.Fence("b"); n <= b || FenceFromContext(second.Context(outer)) != n {
				t.Errorf("tokens %d, then %d, %d in the context", b, n, FenceFromContext(second.Context(outer)))
			}
			_ = second.Unlock(t.Context())
		})
	}
}

// Another process takes the keys over one by one.
func TestLocksHandover(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(), r.locker()
		locks := r.lockAll(l, []string{"a", "b"})
		synctest.Wait() // until all nodes have granted them
		for _, key := range locks.Keys() {
			lock := must(other.Resume(t.Context(), locks.Handover(key)))(t)
			r.unlocks(lock)
		}
		r.some("after the other process has unlocked", nil, locks.Keys())
		if _, err := other.Resume(t.Context(), locks.Handover("c")); err == nil {
			t.Error("a Handover for a key that is not locked")
		}
		r.clean(l)
		r.clean(other)
	})
}

// Shutdown waits for the function of DoAll, whose context ends at once, and counts it once. It
// releases other locks.
func TestLockAllShutdown(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		locks := r.lockAll(l, []string{"c", "d"})
		running, finish := make(chan context.Context), make(chan struct{})
		done := make(chan error)
		go func() {
			done <- l.DoAll(t.Context(), []string{"a", "b"}, func(ctx context.Context) error {
				running <- ctx
				<-finish
				return nil
			})
		}()
		ctx := <-running
		short, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := l.Shutdown(short)
		matches(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "1 in all") {
			t.Errorf("%v, want one function", err)
		}
		if context.Cause(ctx) != ErrClosed || locks.Err() != ErrClosed {
			t.Errorf("the contexts ended with %v and %v", context.Cause(ctx), locks.Err())
		}
		r.some("while the function runs", []string{"a", "b"}, []string{"c", "d"})
		close(finish)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		r.empty()
		matches(t, l.DoAll(t.Context(), []string{"a"}, func(context.Context) error { return nil }), ErrClosed)
	})
}

// Lost responses, nodes that hang and nodes that are down are no reason to leave anything, and a
// minority of such nodes does not matter.
func TestLockAllWithFaults(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"lost replies":  faulty.LoseReply(nil),
		"lost requests": faulty.LoseRequest(nil),
		"hanging":       faulty.Hang(),
		"down":          faulty.Refuse(nil),
		"late":          faulty.Late(2 * time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker()
				r.lock(l, "warm").Unlock(t.Context())
				if n := r.minority(); n > 0 {
					r.set(0, n, fault)
					start := time.Now()
					locks := must(l.LockAll(t.Context(), []string{"a", "b", "c"}))(t)
					took(t, start, 0, 5*time.Millisecond)
					if err := locks.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				}
				r.set(0, r.need(), fault)
				_, err := l.TryLockAll(t.Context(), []string{"a", "b", "c"})
				matches(t, err, ErrUnavailable)
				start := time.Now()
				_, err = l.LockAll(t.Context(), []string{"a", "b", "c"})
				matches(t, err, ErrUnavailable)
				took(t, start, DefaultTTL, DefaultTTL+time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err = l.LockAll(ctx, []string{"a", "b", "c"})
				matches(t, err, ErrUnavailable, context.DeadlineExceeded)
				time.Sleep(time.Minute)
				r.clean(l)
			})
		})
	}
}

// An outage during the wait is survived, if it is shorter than the TTL.
func TestLockAllSurvivesAnOutage(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(), r.locker(WithAutoExtend())
		b := r.lock(other, "b")
		wait := r.waiting(l, t.Context(), []string{"a", "b", "c"})
		for range 3 {
			r.setAll(faulty.Refuse(nil))
			time.Sleep(4 * time.Second)
			r.clear()
			time.Sleep(10 * time.Second)
		}
		r.some("while it waits", []string{"a", "b"}, []string{"c"})
		if err := b.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		locks := must(wait())(t)
		if err := locks.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// The error of several keys is one line that matches the error of each.
func TestSeveralErrors(t *testing.T) {
	one, two := fmt.Errorf("a: %w", ErrNotHeld), fmt.Errorf("b: %w", ErrUnavailable)
	if join([]error{nil, nil}) != nil || join([]error{nil, one}) != one {
		t.Error("an error that is not several")
	}
	err := join([]error{one, nil, two})
	matches(t, err, ErrNotHeld, ErrUnavailable)
	differs(t, err, ErrTaken)
	if want := "a: not held; b: unavailable"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
