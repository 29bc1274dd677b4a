package redlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/lease"
)

// Shutdown releases every lock, however it was acquired.
func TestShutdownReleasesEverything(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var h told
		l := r.locker(WithHooks(h.hooks()))
		derived, err := l.With(WithTTL(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := r.lock(r.locker(), "resumed")
		synctest.Wait() // Resume does not know of grants that are under way
		resumed, err := l.Resume(t.Context(), elsewhere.Handover())
		if err != nil {
			t.Fatal(err)
		}
		lost := r.lock(l, "lost", WithTTL(time.Second))
		locks := []*Lock{r.lock(l, "plain"), r.lock(l, "extending", WithAutoExtend()), resumed, r.lock(derived, "derived")}
		unlocked := r.lock(l, "unlocked")
		_ = unlocked.Unlock(t.Context())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		h.take()
		var contexts []context.Context
		for _, lock := range locks {
			contexts = append(contexts, lock.Context(t.Context()))
		}
		if err := derived.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.empty()
		kinds, events := h.take()
		ended := map[string]string{}
		for i, e := range events {
			ended[e.Key] += fmt.Sprint(kinds[i], " ", e.Held.Round(time.Second), " ", e.Err != nil)
		}
		want := map[string]string{
			"plain": "unlocked 2s false", "extending": "unlocked 2s false", "resumed": "unlocked 2s false", "derived": "unlocked 2s false",
			"lost": "lost 2s true",
		}
		if fmt.Sprint(ended) != fmt.Sprint(want) {
			t.Errorf("hooks %v, want %v", ended, want)
		}
		for i, lock := range locks {
			if cause := context.Cause(contexts[i]); cause != ErrClosed || lock.Err() != ErrClosed {
				t.Errorf("%s: cause %v, Err %v", lock.Key(), cause, lock.Err())
			}
			matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
			if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("%s: Unlock: %v", lock.Key(), err)
			}
		}
		if kinds, _ := h.take(); len(kinds) != 0 {
			t.Errorf("hooks %v afterwards", kinds)
		}
		_ = lost.Unlock(t.Context())
		_, err = l.TryLock(t.Context(), "plain")
		matches(t, err, ErrClosed)
		if err := l.Shutdown(t.Context()); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
		if n := l.keeper.Count().Listed; n != 0 {
			t.Errorf("%d locks are still registered", n)
		}
		time.Sleep(time.Minute) // no extension starts again
		r.empty()
	})
	if err := new(Locker).Shutdown(t.Context()); err == nil {
		t.Error("Shutdown of a zero Locker succeeded")
	}
}

// A function that Do runs keeps its lock, which is extended, until it returns.
func TestShutdownWaitsForFunctions(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithTTL(3*time.Second)), r.locker()
		done := make(chan error)
		broken := errors.New("stopped")
		go func() {
			done <- l.Do(t.Context(), "k", func(ctx context.Context) error {
				<-ctx.Done()
				if context.Cause(ctx) != ErrClosed {
					t.Errorf("cause %v", context.Cause(ctx))
				}
				time.Sleep(10 * time.Second)
				_, err := other.TryLock(t.Context(), "k")
				matches(t, err, ErrTaken)
				return broken
			})
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		err := l.Shutdown(ctx)
		took(t, start, 2*time.Second, 2*time.Second)
		matches(t, err, context.DeadlineExceeded)
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		took(t, start, 10*time.Second, 10*time.Second+100*time.Millisecond)
		if err := <-done; err != broken {
			t.Errorf("Do: %v", err)
		}
		r.empty()
	})
}

// A lock that a function entered is released when the function has returned.
func TestShutdownOfAnEnteredLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		done := make(chan error)
		go func() {
			done <- l.Do(outer.Context(t.Context()), "k", func(ctx context.Context) error {
				<-ctx.Done()
				if cause := context.Cause(outer.Context(context.Background())); cause != ErrClosed {
					t.Errorf("a context that was requested afterwards: cause %v", cause)
				}
				if r.holders("k", outer.Token()) < r.need() {
					t.Error("the lock was released while a function ran under it")
				}
				return l.Do(ctx, "k", func(context.Context) error { t.Error("it ran"); return nil })
			})
		}()
		synctest.Wait()
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		matches(t, <-done, ErrClosed)
		r.empty()
		if err := outer.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whatever is under way when Shutdown is called, no lock is left and no function runs without a
// lock.
func TestShutdownAmongCalls(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for after := range 12 {
			r.setAll(faulty.Delay(10 * time.Millisecond))
			l := r.locker()
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					lock, err := l.Lock(t.Context(), fmt.Sprint("k", i/2), WithAutoExtend())
					if err == nil {
						time.Sleep(5 * time.Millisecond)
						_ = lock.Err()
					} else {
						matches(t, err, ErrClosed)
					}
				})
				all.Go(func() {
					err := l.Do(t.Context(), fmt.Sprint("d", i/2), func(ctx context.Context) error {
						if r.holders(fmt.Sprint("d", i/2), "") < r.need() {
							t.Error("a function ran without a lock")
						}
						<-ctx.Done()
						return nil
					})
					if err != nil {
						matches(t, err, ErrClosed)
					}
				})
			}
			time.Sleep(time.Duration(after) * 3 * time.Millisecond)
			if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			all.Wait()
			synctest.Wait()
			r.clear()
			time.Sleep(50 * time.Millisecond)
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
			r.empty()
		}
	})
}

// Locks that are neither unlocked nor used again do not accumulate.
func TestForgottenLocksAreForgotten(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Second))
		kept := r.lock(l, "kept", WithAutoExtend())
		for i := range 1000 {
			r.lock(l, fmt.Sprint("k", i))
			time.Sleep(100 * time.Millisecond)
		}
		if n := l.keeper.Count().Listed; n > 2*lease.MinSearch {
			t.Errorf("%d locks are registered, of which 11 can be held", n)
		}
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if kept.Err() != ErrClosed {
			t.Errorf("the lock that is still held: %v", kept.Err())
		}
	})
}
