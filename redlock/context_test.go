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
	"github.com/quorumlock/quorumlock/internal/lease"
)

// A context of a lock ends when its parent does, with the parent's cause. It has the parent's
// values.
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

// Unlock ends every context with ErrReleased before the deletion is sent. A context that is
// requested later has ended from the start.
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

// A context ends at Until, before the servers let the lock expire. An extension moves that end.
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
			t.Errorf("the context ended %v after Until", time.Since(lock.Until()))
		}
		matches(t, context.Cause(ctx), ErrNotHeld)
		differs(t, context.Cause(ctx), ErrReleased)
		if n := r.holders("k", lock.Token()); n < r.need() {
			t.Errorf("%d nodes hold the lock when its context ends, want a quorum", n)
		}
		synctest.Wait()
		if len(lost) != 1 || lost[0].Held != 14898*time.Millisecond || lost[0].Elapsed != 0 || lost[0].Err != context.Cause(ctx) {
			t.Errorf("Lost got %+v", lost)
		}
	})
}

// After a suspension of the machine, the wall clock has jumped, but the monotonic clock and the
// timers have not. A context reports the end at once when asked, and ends by itself within a
// second. The lock cannot be extended.
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
			t.Errorf("Unlock: %v; want nil: the servers were not suspended and still held the lock", err)
		}
		matches(t, unlocked.Err(), ErrNotHeld)
		<-ctxWaiting.Done()
		took(t, start, 0, time.Second)
		matches(t, context.Cause(ctxWaiting), ErrNotHeld)
	})
}

// From the first second on, every lock is checked.
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

// A suspension shorter than the remaining validity shortens the validity.
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
			t.Fatal("the context ended 10 s too early")
		}
		<-ctx.Done()
		took(t, start, 19998*time.Millisecond, 19998*time.Millisecond)
	})
}

// An extension during which the machine was suspended has come too late.
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
			t.Error("the context has not ended")
		}
	})
}

// Setting the wall clock back makes nothing last longer.
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
			t.Errorf("the lock was lost: %v", context.Cause(ctx))
		}
		// There is one extension every 3 s or so of the 160 s on the wall clock, and none in
		// addition for a suspension.
		if n := r.arrived(faulty.Kind(backend.OpExtend)); n > 70*len(r.mem) {
			t.Errorf("%d extensions of %d nodes", n, len(r.mem))
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A lock survives even a suspension that leaves it little more than the second between two
// comparisons of the clocks. An extension that was due during the suspension is made at once.
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
			t.Errorf("the lock was lost: %v", context.Cause(ctx))
		}
		if n := suspended.Load(); n < 20 || n > 40 {
			t.Errorf("%d suspensions in half a minute, each of them after an extension", n)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A suspension that is noticed during an extension has no extension to bring forward.
func TestSuspendedDuringAutoExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute), WithNodeTimeout(2*time.Second))
		forward := suspend(l)
		lock := r.lock(l, "k", WithAutoExtend())
		r.setAll(faulty.On(faulty.Kind(backend.OpExtend), faulty.DelayReply(1900*time.Millisecond)))
		busy := func() bool { return l.keeper.Count().Extending > 0 }
		for !busy() {
			time.Sleep(10 * time.Millisecond)
		}
		forward(30 * time.Second)
		time.Sleep(lease.WatchInterval)
		if !busy() {
			t.Error("the extension ended before the clocks were compared")
		}
		time.Sleep(time.Second)
		if left := l.clock.Now(); lock.Err() != nil || lock.lease.Until().Until(left) < 20*time.Second {
			t.Errorf("the lock: %v, valid for %v", lock.Err(), lock.lease.Until().Until(left))
		}
		r.unlocks(lock)
	})
}

// Of two leases, the one counts that leaves more time according to the clock that is ahead. After
// a suspension, an extension may end earlier than the older lease on the monotonic clock, and
// still leave more time.
func TestSuspendedBeforeAShorterExtension(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute), WithDrift(0))
		forward := suspend(l)
		lock := r.lock(l, "k")
		ctx := lock.Context(t.Context())
		forward(50 * time.Second) // leaves 10 s
		start := time.Now()
		if err := lock.Extend(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := lock.Extend(t.Context(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(lock.Until()); left != 19998*time.Millisecond {
			t.Errorf("the validity is %v, want 19.998s", left)
		}
		<-ctx.Done()
		took(t, start, 19998*time.Millisecond, 19998*time.Millisecond)
		matches(t, lock.Err(), ErrNotHeld)
	})
}

// After they or the lock have ended, contexts cost nothing: no goroutine, no timer.
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
		if n, _, _ := lock.handle.Count(); n != 0 {
			t.Errorf("%d contexts whose parents have ended are kept", n)
		}
		ctx := lock.Context(t.Context())
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		if n := l.keeper.Count(); n.Watched != 0 || n.Watching {
			t.Error("the Locker still watches although no lock is held")
		}
	})
}

// A lateContext has a timer that fires later than the deadline that it shows.
type lateContext struct {
	context.Context
	deadline time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

// A caller that learns from a call that ctx has ended finds it ended, with its cause, even if the
// call notices the deadline before the timer of ctx does.
func TestContextEndedBeforeItsTimer(t *testing.T) {
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
				if wakes > time.Minute { // it misses its deadline, and nobody waits for it
					if took := time.Since(start); took > time.Second {
						t.Errorf("returned after %v", took)
					}
					return
				}
				matches(t, err, cause)
				if ctx.Err() == nil {
					t.Error("the call reports that ctx has ended, but ctx has not")
				}
			})
		})
	}
}

// The same with several keys: the wait for the second one ends at the deadline of ctx, before ctx.
// The error is that of ctx, and not of a context that the call has made for the wait.
func TestContextOfLockAllEndedBeforeItsTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadline, late = 100 * time.Millisecond, 10 * time.Millisecond
		r := newRig(t, 3, false)
		for _, m := range r.mem {
			m.Set("b", "foreign", time.Hour)
		}
		time.AfterFunc(deadline/2, func() { r.set(0, 3, faulty.Delay(deadline/2+2*time.Millisecond), faulty.Refuse(nil)) })
		cause := errors.New("enough")
		parent, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(deadline+late), cause)
		defer cancel()
		ctx := lateContext{parent, time.Now().Add(deadline)}
		l := r.locker()
		_, err := l.LockAll(ctx, []string{"a", "b"}, WithRetry(Fixed(time.Millisecond)))
		matches(t, err, ErrTaken, context.DeadlineExceeded, cause)
		if errors.Is(err, context.Canceled) || ctx.Err() == nil {
			t.Errorf("the error is %v, and that of ctx %v", err, ctx.Err())
		}
		for _, m := range r.mem {
			_, _ = m.EvalDelete(t.Context(), "b", "foreign")
		}
		r.clean(l)
	})
}
