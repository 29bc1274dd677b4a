package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/lease"
)

// A lock extends itself after a third of its TTL, or slightly earlier because of the jitter,
// until it is unlocked.
func TestAutoExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var extended atomic.Int64
		l := r.locker(WithTTL(6*time.Second), WithHooks(Hooks{Extended: func(context.Context, Event) { extended.Add(1) }}))
		lock := r.lock(l, "k", WithAutoExtend())
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if left := time.Until(lock.Until()); left < 3900*time.Millisecond-10*time.Millisecond {
				t.Fatalf("%v of 6s are left: the lock was not extended in time", left)
			}
		}
		if n := extended.Load(); n < 30 || n > 34 {
			t.Errorf("%d extensions in a minute, want one every 1.8 s to 2 s", n)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the last deletions
		n := r.calls()
		time.Sleep(time.Minute)
		if r.calls() != n {
			t.Error("the lock extends itself after Unlock")
		}
		r.empty()
	})
}

// Failed extensions are repeated within the validity, so an outage shorter than that costs no
// lock. A longer one ends the lock in time, and this is logged.
func TestAutoExtendOutage(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithLogger(log.logger()))
		lock := r.lock(l, "k", WithAutoExtend())
		ctx := lock.Context(t.Context())
		time.Sleep(20 * time.Second)
		r.set(r.minority(), len(r.mem), faulty.Refuse(nil))
		time.Sleep(6 * time.Second)
		r.clear()
		time.Sleep(time.Second)
		if ctx.Err() != nil || time.Until(lock.Until()) < 8*time.Second {
			t.Fatalf("an outage of 6s cost the lock: %v, until in %v", context.Cause(ctx), time.Until(lock.Until()))
		}
		if !strings.Contains(log.String(), "not extended, trying again") {
			t.Errorf("the log does not mention the outage: %q", log.String())
		}

		r.set(r.minority(), len(r.mem), faulty.Hang())
		<-ctx.Done()
		if time.Now().After(lock.Until()) {
			t.Errorf("the context ended %v after Until", time.Since(lock.Until()))
		}
		if e := r.expiry("k", lock.Token()); !time.Now().Before(e) {
			t.Error("the context ended after the servers had let the lock expire")
		}
		synctest.Wait()
		if !strings.Contains(log.String(), "lock lost") {
			t.Errorf("the log does not mention the loss: %q", log.String())
		}
		time.Sleep(5 * time.Second) // the calls that hang end
		n := r.calls()
		time.Sleep(time.Minute)
		if r.calls() != n {
			t.Error("a lost lock still extends itself")
		}
	})
}

// The loss is reported at the end of the validity, even if nobody has asked for a context.
func TestAutoExtendOutageUnwatched(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lost := make(chan time.Time, 1)
		l := r.locker(WithHooks(Hooks{Lost: func(context.Context, Event) { lost <- time.Now() }}))
		lock := r.lock(l, "k", WithAutoExtend())
		synctest.Wait()
		r.setAll(faulty.Hang())
		if at := <-lost; !at.Equal(lock.Until()) {
			t.Errorf("the loss was reported %v after the end", at.Sub(lock.Until()))
		}
	})
}

// A lock is lost at once when an extension finds that another holds it.
func TestAutoExtendNotHeld(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k", WithAutoExtend())
		synctest.Wait()
		for _, m := range r.mem {
			m.Set("k", "other", time.Hour)
		}
		start := time.Now()
		ctx := lock.Context(t.Context())
		<-ctx.Done()
		took(t, start, 3*time.Second, 10*time.Second/3)
		matches(t, context.Cause(ctx), ErrNotHeld)
		if n := r.holders("k", "other"); n != len(r.mem) {
			t.Errorf("%d nodes hold the other holder's key", n)
		}
	})
}

// With WithMaxHold, the servers let the lock expire at the latest when it has been held for that
// long.
func TestMaxHold(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithMaxHold(time.Minute), WithLogger(log.logger()))
		start := time.Now()
		err := l.Do(t.Context(), "k", func(ctx context.Context) error {
			<-ctx.Done()
			took(t, start, 59*time.Second, time.Minute)
			time.Sleep(time.Until(start.Add(time.Minute)))
			if n := r.holders("k", ""); n > 0 {
				t.Errorf("%d nodes hold the lock after the longest time allowed", n)
			}
			return nil
		})
		matches(t, err, ErrNotHeld)
		if n := strings.Count(log.String(), "longest time allowed"); n != 1 {
			t.Errorf("the log says %d times that the lock is no longer extended", n)
		}
		if n := r.arrived(faulty.Kind(backend.OpExtend)); n > 22*len(r.mem) {
			t.Errorf("%d extensions of %d nodes in a minute", n, len(r.mem))
		}
	})
}

// The machine was suspended until after the longest hold, so there is nothing left to extend to.
// The lock is lost, without further calls.
func TestMaxHoldSuspended(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(600*time.Millisecond), WithMaxHold(time.Minute)) // extended before the clocks are compared
		forward := suspend(l)
		lock := r.lock(l, "k", WithAutoExtend())
		synctest.Wait()
		forward(time.Hour)
		time.Sleep(2 * time.Second)
		matches(t, lock.Err(), ErrNotHeld)
		if n := r.arrived(faulty.Kind(backend.OpExtend)); n > 0 {
			t.Errorf("%d extensions of a lost lock", n)
		}
	})
}

// An Unlock during an automatic extension causes no failure and no loss, and the key is deleted.
func TestAutoExtendMeetsUnlock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithLogger(log.logger()))
		lock := r.lock(l, "k", WithAutoExtend())
		r.setAll(faulty.On(faulty.Kind(backend.OpExtend), faulty.Delay(200*time.Millisecond)))
		var extending bool
		for !extending {
			time.Sleep(10 * time.Millisecond)
			for _, c := range r.fault[0].Calls() {
				extending = extending || c.Ops[0].Kind == backend.OpExtend
			}
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		time.Sleep(time.Second)
		if n := l.keeper.Count(); n.Scheduled > 0 || n.Extending > 0 {
			t.Error("the extension goes on after Unlock")
		}
		if log.String() != "" {
			t.Errorf("the log mentions a failure: %q", log.String())
		}
		r.clean(l)
	})
}

// An unlocked lock is forgotten at once, not when its next extension was due.
func TestAutoExtendForgets(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Hour))
		var locks []*Lock
		for i := range 5 {
			locks = append(locks, r.lock(l, fmt.Sprint(i), WithAutoExtend()))
		}
		for left := len(locks) - 1; left >= 0; left-- {
			r.unlocks(locks[left])
			if n := l.keeper.Count().Scheduled; n != left {
				t.Errorf("%d locks are to be extended, want %d", n, left)
			}
		}
	})
}

// Between extensions, a lock that extends itself needs a timer but no goroutine. A thousand of
// them are all extended.
func TestAutoExtendMany(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Second))
		var locks []*Lock
		for i := range 1000 {
			locks = append(locks, r.lock(l, string(rune('0'+i)), WithAutoExtend()))
		}
		time.Sleep(10 * time.Second)
		var errs []error
		for _, lock := range locks {
			errs = append(errs, lock.Err(), lock.Unlock(t.Context()))
			if lock.Err() != ErrReleased {
				t.Errorf("%v", lock.Err())
			}
		}
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// While the nodes do not answer, the number of locks being extended at a time is limited. None is
// lost if the nodes answer again before the end of its validity.
func TestAutoExtendWaitsForItsTurn(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		const ttl = 6 * time.Second
		l := r.locker(WithTTL(ttl))
		var locks []*Lock
		for i := range lease.MostExtending + 1000 {
			locks = append(locks, r.lock(l, fmt.Sprint(i), WithAutoExtend()))
		}
		r.setAll(faulty.Hang())
		most := 0
		for end := time.Now().Add(ttl / 2); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			most = max(most, l.keeper.Count().Extending)
		}
		if most != lease.MostExtending {
			t.Errorf("%d locks were extended at a time, want %d", most, lease.MostExtending)
		}
		r.clear()
		time.Sleep(2 * ttl)
		for _, lock := range locks {
			if err := errors.Join(lock.Err(), lock.Unlock(t.Context())); err != nil {
				t.Error(err)
			}
		}
		r.clean(l)
	})
}

// Once the lock is lost, no further attempts are logged, even if one was under way.
func TestAutoExtendAfterLoss(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for range 20 { // the attempts come at random times
			var log logText
			l := r.locker(WithLogger(log.logger()), WithNodeTimeout(DefaultTTL/8))
			r.clear()
			lock := r.lock(l, "k", WithAutoExtend())
			r.setAll(faulty.Hang())
			<-lock.Context(t.Context()).Done()
			synctest.Wait()
			if _, after, ok := strings.Cut(log.String(), "lock lost"); !ok || strings.Contains(after, "trying again") {
				t.Fatalf("the log: %s", log.String())
			}
			r.clear()
			_ = lock.Unlock(t.Context())
		}
	})
}
