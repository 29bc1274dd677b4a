package redlock

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// A context of a lock ends when its parent does, with the parent's cause, and keeps
// the parent's values.
func TestContextParent(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		type key struct{}
		mine := errors.New("mine")
		parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		ctx := lock.Context(parent)
		if ctx.Value(key{}) != "value" || ctx.Err() != nil {
			t.Errorf("value %v, error %v", ctx.Value(key{}), ctx.Err())
		}
		cancel(mine)
		<-ctx.Done()
		if ctx.Err() != context.Canceled || context.Cause(ctx) != mine {
			t.Errorf("error %v, cause %v; want the parent's", ctx.Err(), context.Cause(ctx))
		}
		if lock.Err() != nil {
			t.Error("the lock ended with a context's parent")
		}
		if other := lock.Context(t.Context()); other.Err() != nil {
			t.Error("one context ended another")
		}
	})
}

// Every context ends when the lock is unlocked, before the deletion is sent, with
// ErrReleased; so do those that are asked for later.
func TestContextReleased(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		a, b := lock.Context(t.Context()), lock.Context(context.Background())
		child, cancel := context.WithCancel(b)
		defer cancel()
		r.setAll(faulty.Delay(100 * time.Millisecond))
		start := time.Now()
		go lock.Unlock(t.Context())
		for _, ctx := range []context.Context{a, b, child} {
			<-ctx.Done()
			took(t, start, 0, 0)
			if ctx.Err() != context.Canceled || context.Cause(ctx) != ErrReleased {
				t.Errorf("error %v, cause %v, want ErrReleased", ctx.Err(), context.Cause(ctx))
			}
		}
		if late := lock.Context(t.Context()); late.Err() == nil || context.Cause(late) != ErrReleased {
			t.Errorf("a later context: error %v, cause %v", late.Err(), context.Cause(late))
		}
		if lock.Err() != ErrReleased {
			t.Errorf("Err %v, want ErrReleased", lock.Err())
		}
	})
}

// A context ends at Until, before the servers let the lock expire, and an extension
// moves that.
func TestContextExpires(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var lost []Event
		lock := r.lock(r.locker(WithHooks(Hooks{Lost: func(_ context.Context, e Event) { lost = append(lost, e) }})), "k")
		start := time.Now()
		ctx := lock.Context(t.Context())
		time.Sleep(5 * time.Second)
		if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		took(t, start, 14898*time.Millisecond, 14898*time.Millisecond)
		if !time.Now().Equal(lock.Until()) {
			t.Errorf("it ended %v after Until", time.Since(lock.Until()))
		}
		matches(t, context.Cause(ctx), ErrNotHeld)
		differs(t, context.Cause(ctx), ErrReleased)
		if n := r.holders("k", lock.Token()); n < r.need() {
			t.Errorf("%d nodes hold the lock when its context ends, want a quorum", n)
		}
		synctest.Wait()
		if len(lost) != 1 || lost[0].Held != 14898*time.Millisecond || lost[0].Elapsed != 0 || lost[0].Err != context.Cause(ctx) {
			t.Errorf("Lost was told %+v", lost)
		}
	})
}

// A machine that was suspended: the wall clock has jumped, the monotonic clock and
// the timers have not. The contexts say so at once when asked, and end by
// themselves within a second; the lock cannot be extended.
func TestSuspendedBeyondValidity(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute))
		forward := suspend(l)
		asked, waiting := r.lock(l, "asked"), r.lock(l, "waiting")
		extended, unlocked := r.lock(l, "extended"), r.lock(l, "unlocked")
		ctxAsked, ctxWaiting := asked.Context(t.Context()), waiting.Context(t.Context())
		time.Sleep(2500 * time.Millisecond)
		forward(time.Hour)
		start := time.Now()
		if ctxAsked.Err() == nil {
			t.Error("Err of a context says that the lock is held")
		}
		matches(t, context.Cause(ctxAsked), ErrNotHeld)
		matches(t, asked.Err(), ErrNotHeld)
		matches(t, extended.Extend(t.Context(), time.Minute), ErrNotHeld)
		if err := unlocked.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v; the servers, which were not suspended here, still had it", err)
		}
		matches(t, unlocked.Err(), ErrNotHeld)
		<-ctxWaiting.Done()
		took(t, start, 0, time.Second)
		matches(t, context.Cause(ctxWaiting), ErrNotHeld)
	})
}

// Every lock is looked at, from the first second on.
func TestSuspendedAtOnce(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute))
		forward := suspend(l)
		var all []context.Context
		for _, key := range []string{"a", "b", "c"} {
			all = append(all, r.lock(l, key).Context(t.Context()))
			time.Sleep(100 * time.Millisecond)
		}
		forward(time.Hour)
		start := time.Now()
		for _, ctx := range all {
			<-ctx.Done()
			matches(t, context.Cause(ctx), ErrNotHeld)
		}
		took(t, start, 0, time.Second)
	})
}

// A suspension shorter than what is left of the validity shortens it.
func TestSuspendedWithinValidity(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute), WithDrift(0))
		forward := suspend(l)
		lock := r.lock(l, "k")
		start := time.Now()
		ctx := lock.Context(t.Context())
		time.Sleep(10 * time.Second)
		forward(40 * time.Second)
		if ctx.Err() != nil {
			t.Fatal("it ended with 10 s to go")
		}
		<-ctx.Done()
		took(t, start, 19998*time.Millisecond, 19998*time.Millisecond)
	})
}

// A suspension in the middle of an extension: it came too late.
func TestSuspendedDuringExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		forward := suspend(l)
		lock := r.lock(l, "k")
		ctx := lock.Context(t.Context())
		r.setAll(faulty.DelayReply(100 * time.Millisecond))
		time.AfterFunc(50*time.Millisecond, func() { forward(time.Hour) })
		matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
		matches(t, lock.Err(), ErrNotHeld)
		if ctx.Err() == nil {
			t.Error("the context goes on")
		}
	})
}

// The wall clock is set back: nothing lasts longer for that.
func TestWallClockSetBack(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithDrift(0))
		forward := suspend(l)
		lock := r.lock(l, "k")
		start := time.Now()
		ctx := lock.Context(t.Context())
		time.Sleep(3 * time.Second)
		forward(-time.Hour)
		if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		forward(-time.Hour)
		<-ctx.Done()
		took(t, start, 12998*time.Millisecond, 12998*time.Millisecond)
	})
}

// A lock extends itself through a suspension that leaves it some validity.
func TestSuspendedAutoExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(10 * time.Second))
		forward := suspend(l)
		lock := r.lock(l, "k", WithAutoExtend())
		ctx := lock.Context(t.Context())
		for range 20 {
			time.Sleep(5 * time.Second)
			forward(3 * time.Second)
		}
		if ctx.Err() != nil {
			t.Errorf("it was lost: %v", context.Cause(ctx))
		}
		// In 160 s, as the wall clock has it, each 3 s or so, and no more for each suspension.
		if n := r.arrived(faulty.Kind(backend.OpExtend)); n > 70*len(r.mem) {
			t.Errorf("%d extensions of %d nodes", n, len(r.mem))
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Even through one that leaves it little more than the second after which the clocks are
// compared: it is not extended when that was due before, but at once.
func TestSuspendedAutoExtendInTime(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var suspended atomic.Int64
		forward := func(time.Duration) {}
		l := r.locker(WithTTL(10*time.Second), WithHooks(Hooks{Extended: func(context.Context, Event) {
			time.AfterFunc(100*time.Millisecond, func() {
				suspended.Add(1)
				forward(8 * time.Second)
			})
		}}))
		forward = suspend(l)
		lock := r.lock(l, "k", WithAutoExtend())
		ctx := lock.Context(t.Context())
		time.Sleep(30 * time.Second)
		if ctx.Err() != nil {
			t.Errorf("it was lost: %v", context.Cause(ctx))
		}
		if n := suspended.Load(); n < 20 || n > 40 {
			t.Errorf("%d suspensions in half a minute, each after an extension", n)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A suspension that is noticed while the lock is being extended has nothing to hurry.
func TestSuspendedDuringAutoExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute), WithNodeTimeout(2*time.Second))
		forward := suspend(l)
		lock := r.lock(l, "k", WithAutoExtend())
		r.setAll(faulty.On(faulty.Kind(backend.OpExtend), faulty.DelayReply(1900*time.Millisecond)))
		busy := func() bool {
			l.extender.mu.Lock()
			defer l.extender.mu.Unlock()
			return l.extender.busy > 0
		}
		for !busy() {
			time.Sleep(10 * time.Millisecond)
		}
		forward(30 * time.Second)
		time.Sleep(watchInterval)
		if !busy() {
			t.Error("the extension has ended before the clocks were compared")
		}
		time.Sleep(time.Second)
		if left := l.clock.Now(); lock.Err() != nil || lock.until.Until(left) < 20*time.Second {
			t.Errorf("the lock: %v, valid for %v", lock.Err(), lock.until.Until(left))
		}
		r.unlocks(lock)
	})
}

// Of two leases the one counts of which more is left by the clock that is ahead: an
// extension after a suspension may end sooner than the older lease by the monotonic clock,
// and is longer all the same.
func TestSuspendedBeforeAShorterExtension(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute), WithDrift(0))
		forward := suspend(l)
		lock := r.lock(l, "k")
		ctx := lock.Context(t.Context())
		forward(50 * time.Second) // 10 s are left
		start := time.Now()
		if err := lock.Extend(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := lock.Extend(t.Context(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(lock.Until()); left != 19998*time.Millisecond {
			t.Errorf("it is said to be valid for %v, want 19.998s", left)
		}
		<-ctx.Done()
		took(t, start, 19998*time.Millisecond, 19998*time.Millisecond)
		matches(t, lock.Err(), ErrNotHeld)
	})
}

// Contexts cost nothing once they or the lock have ended: no goroutine, no timer.
func TestContextsAreFreed(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		for range 100 {
			parent, cancel := context.WithCancel(t.Context())
			lock.Context(parent)
			cancel()
		}
		synctest.Wait()
		lock.mu.Lock()
		if n := len(lock.contexts); n != 0 {
			t.Errorf("%d contexts whose parents have ended are kept", n)
		}
		lock.mu.Unlock()
		ctx := lock.Context(t.Context())
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		l.watch.mu.Lock()
		defer l.watch.mu.Unlock()
		if len(l.watch.locks) != 0 || l.watch.timer != nil {
			t.Error("the Locker goes on watching though no lock is held")
		}
	})
}

// A lateContext has a timer that notices its deadline later than the clock shows it.
type lateContext struct {
	context.Context
	deadline time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Whoever is told that ctx has ended finds it ended, with its cause, though a call sees
// the deadline before the timer of ctx does.
func TestEndedContextIsSeenToHaveEnded(t *testing.T) {
	const deadline, late = 10 * time.Millisecond, 5 * time.Millisecond
	for name, wakes := range map[string]time.Duration{"late": deadline + late, "far too late": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 3, false)
				r.set(0, 3, faulty.Delay(deadline+time.Millisecond), faulty.Refuse(nil))
				cause := errors.New("enough")
				start := time.Now()
				parent, cancel := context.WithDeadlineCause(t.Context(), start.Add(wakes), cause)
				defer cancel()
				ctx := lateContext{parent, start.Add(deadline)}
				_, err := r.locker().TryLock(ctx, "k")
				matches(t, err, ErrUnavailable, context.DeadlineExceeded)
				if wakes > time.Minute { // it does not keep its deadline, and is not waited for
					if took := time.Since(start); took > time.Second {
						t.Errorf("returned after %v", took)
					}
					return
				}
				matches(t, err, cause)
				if ctx.Err() == nil {
					t.Error("the call says that ctx has ended, and ctx says that it has not")
				}
			})
		})
	}
}
