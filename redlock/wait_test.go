package redlock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// WithWait ends the wait, but not the caller's ctx.
func TestWaitIsOver(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(), r.locker()
		held := r.lock(other, "k", WithTTL(time.Minute))
		for _, tt := range []struct {
			name string
			opts []LockOption
		}{
			{"in the queue", nil},
			{"polling", []LockOption{WithRetry(Fixed(50 * time.Millisecond))}},
		} {
			start := time.Now()
			_, err := l.Lock(t.Context(), "k", append(tt.opts, WithWait(3*time.Second))...)
			took(t, start, 2900*time.Millisecond, 3*time.Second)
			matches(t, err, ErrTaken)
			differs(t, err, context.DeadlineExceeded, context.Canceled)
			if t.Context().Err() != nil {
				t.Errorf("%s: the caller's ctx has ended", tt.name)
			}
		}

		// The second caller is queued behind the first one in this process.
		start := time.Now()
		done := make(chan error)
		go func() {
			_, err := l.Lock(t.Context(), "k", WithWait(9*time.Second))
			done <- err
		}()
		synctest.Wait()
		_, err := l.Lock(t.Context(), "k", WithWait(2*time.Second))
		took(t, start, 1900*time.Millisecond, 2*time.Second)
		matches(t, err, ErrTaken)
		differs(t, err, context.DeadlineExceeded)
		matches(t, <-done, ErrTaken)
		took(t, start, 8900*time.Millisecond, 9*time.Second)

		start = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.Lock(ctx, "k", WithWait(5*time.Second))
		took(t, start, 900*time.Millisecond, time.Second)
		matches(t, err, ErrTaken, context.DeadlineExceeded)

		r.setAll(faulty.Refuse(nil))
		start = time.Now()
		_, err = l.Lock(t.Context(), "k", WithWait(time.Second))
		took(t, start, 900*time.Millisecond, time.Second)
		matches(t, err, ErrUnavailable)
		differs(t, err, context.DeadlineExceeded)
		r.clear()
		_ = held.Unlock(t.Context())
	})
}

// A short wait does not cut the first attempt short. A wait of 0 allows only that attempt.
func TestWaitAllowsOneAttempt(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithWait(time.Millisecond))
		r.setAll(faulty.Delay(50 * time.Millisecond))
		lock, err := l.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = l.Lock(t.Context(), "k", WithWait(0))
		took(t, start, 50*time.Millisecond, 50*time.Millisecond)
		var e *QuorumError
		if matches(t, err, ErrTaken); !errors.As(err, &e) || e.Tries != 1 {
			t.Errorf("error %v, want one attempt", err)
		}
		_ = lock.Unlock(t.Context())
		if _, err := l.Lock(t.Context(), "k", WithWait(-1)); err == nil {
			t.Error("a negative wait was accepted")
		}
	})
}

// The wait does not bound the work: a job that takes longer is not stopped.
func TestWaitDoesNotBoundTheWork(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(2 * time.Second))
		held := r.lock(l, "k", WithAutoExtend())
		time.AfterFunc(4*time.Second, func() { _ = held.Unlock(context.Background()) })
		start := time.Now()
		err := l.Do(t.Context(), "k", func(ctx context.Context) error {
			select {
			case <-time.After(6 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, WithWait(5*time.Second))
		if err != nil {
			t.Errorf("a job of 6 s with a wait of 5 s: %v", err)
		}
		took(t, start, 10*time.Second, 10*time.Second+500*time.Millisecond)
		r.clean(l)
	})
}

// A nested call extends the lock that ctx holds, for as long as its wait allows.
func TestWaitOfANestedCall(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(10*time.Second), WithReentrancy())
		lock := r.lock(l, "k")
		time.Sleep(time.Second)
		r.setAll(faulty.Refuse(nil))
		start := time.Now()
		_, err := l.Lock(lock.Context(t.Context()), "k", WithWait(2*time.Second))
		took(t, start, 1900*time.Millisecond, 2*time.Second)
		matches(t, err, ErrUnavailable)
		differs(t, err, context.DeadlineExceeded)
		r.clear()
		_ = lock.Unlock(t.Context())
	})
}

// A caller of Mutex.Lock waits first in the process and then on the servers. Both count.
func TestWaitForAMutex(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Minute))
		m := l.Mutex("k", WithWait(3*time.Second))
		if err := m.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err := m.Lock(t.Context())
		took(t, start, 3*time.Second, 3*time.Second)
		matches(t, err, ErrTaken)
		differs(t, err, context.DeadlineExceeded)

		// When the Mutex becomes free, another process has the lock.
		other := r.locker()
		if err := m.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second, func() {
			m.lock.Unlock(context.Background())
			if _, err := other.TryLock(context.Background(), "k", WithTTL(time.Minute)); err != nil {
				t.Error(err)
			}
			_ = m.Unlock(context.Background())
		})
		start = time.Now()
		err = m.Lock(t.Context())
		took(t, start, 2900*time.Millisecond, 3*time.Second)
		matches(t, err, ErrTaken)
		differs(t, err, context.DeadlineExceeded)
	})
}

// TryDo runs its function, and extends the lock as long as that takes, or does nothing.
func TestTryDo(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(2 * time.Second))
		start := time.Now()
		ran := 0
		err := l.TryDo(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(5 * time.Second)
			other := r.locker(WithWait(time.Hour))
			err := other.TryDo(t.Context(), "k", func(context.Context) error {
				t.Error("fn ran although another process held the lock")
				return nil
			})
			matches(t, err, ErrTaken)
			ran++
			return ctx.Err()
		})
		if err != nil || ran != 1 {
			t.Errorf("%d runs: %v", ran, err)
		}
		took(t, start, 5*time.Second, 5*time.Second)
		broken := errors.New("broken")
		matches(t, l.TryDo(t.Context(), "k", func(context.Context) error { return broken }), broken)
		if l.TryDo(t.Context(), "k", nil) == nil {
			t.Error("a nil function was accepted")
		}
		r.clean(l)
	})
}
