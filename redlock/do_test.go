package redlock

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

var errMine = errors.New("the work failed")

// Do holds the lock for as long as fn runs, and returns what fn returned.
func TestDo(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		for _, want := range []error{nil, errMine} {
			var inside context.Context
			err := l.Do(ctx, "k", func(ctx context.Context) error {
				inside = ctx
				if ctx.Value(key{}) != "value" {
					t.Error("fn's ctx lacks the caller's values")
				}
				for range 60 {
					time.Sleep(time.Second)
					if n := r.holders("k", ""); n < r.need() || ctx.Err() != nil {
						t.Fatalf("%d nodes hold the lock, ctx: %v", n, ctx.Err())
					}
				}
				return want
			})
			if err != want {
				t.Errorf("Do returned %v, want %v", err, want)
			}
			if context.Cause(inside) != ErrReleased {
				t.Errorf("fn's ctx ended with %v, want ErrReleased", context.Cause(inside))
			}
			synctest.Wait()
			r.empty()
		}
	})
}

// If Do does not get the lock, fn does not run.
func TestDoNotLocked(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k", WithTTL(time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := l.Do(ctx, "k", func(context.Context) error {
			t.Error("fn ran")
			return nil
		})
		matches(t, err, ErrTaken, context.DeadlineExceeded)
		err = l.Do(t.Context(), "k", func(context.Context) error {
			t.Error("fn ran")
			return nil
		}, WithRetry(Fixed(0).Limit(1)))
		matches(t, err, ErrTaken)
	})
}

// A loss ends fn's ctx. Do waits for fn, and never replaces fn's own error.
func TestDoLost(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		for _, own := range []error{nil, errMine} {
			start := time.Now()
			err := l.Do(t.Context(), "k", func(ctx context.Context) error {
				time.Sleep(time.Second)
				for _, m := range r.mem {
					m.Flush()
				}
				<-ctx.Done()
				took(t, start, 0, DefaultTTL)
				matches(t, context.Cause(ctx), ErrNotHeld)
				time.Sleep(time.Minute) // fn is slow to return
				return own
			})
			took(t, start, time.Minute, 2*time.Minute)
			matches(t, err, ErrNotHeld)
			if own != nil {
				matches(t, err, own)
			}
		}
	})
}

// If fn returns the cause of its ctx, it has reported the loss, so Do does not add it again.
func TestDoReportsLossOnce(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for _, tt := range []struct{ name, before string }{
			{"as it is", ""},
			{"wrapped", "step 2: "},
		} {
			var cause error
			err := r.locker().Do(t.Context(), "k", func(ctx context.Context) error {
				for _, m := range r.mem {
					m.Flush()
				}
				<-ctx.Done()
				cause = context.Cause(ctx)
				if tt.before == "" {
					return cause
				}
				return fmt.Errorf("%s%w", tt.before, cause)
			})
			matches(t, err, ErrNotHeld)
			if want := tt.before + cause.Error(); err.Error() != want {
				t.Errorf("%s: %q, want %q", tt.name, err, want)
			}
		}
	})
}

// If nobody can extend the lock any more, fn's ctx ends before the servers let the lock expire.
// The error contains the reason.
func TestDoCutOff(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		start := time.Now()
		err := l.Do(t.Context(), "k", func(ctx context.Context) error {
			r.set(r.minority(), len(r.mem), faulty.Refuse(nil))
			<-ctx.Done()
			took(t, start, 9*time.Second, 9898*time.Millisecond)
			return errMine
		})
		matches(t, err, ErrNotHeld, errMine)
		for _, want := range []string{"its validity ended at", "the last extension failed", "connection refused"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not contain %q", err, want)
			}
		}
	})
}

// If the lock is lost just before fn returns, the unlocking notices it, and Do reports it.
func TestDoLostAtTheEnd(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		err := r.locker().Do(t.Context(), "k", func(ctx context.Context) error {
			for _, m := range r.mem {
				m.Flush()
			}
			return errMine
		})
		matches(t, err, ErrNotHeld, errMine)
	})
}

// A failure to unlock is only logged, because fn has done its work.
func TestDoUnlockUnanswered(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithLogger(log.logger()))
		err := l.Do(t.Context(), "k", func(ctx context.Context) error {
			r.setAll(faulty.Refuse(nil))
			return nil
		})
		if err != nil {
			t.Errorf("Do returned %v, want nil", err)
		}
		if !strings.Contains(log.String(), "unlocking was not answered") {
			t.Errorf("the log does not mention it: %q", log.String())
		}
		r.clean(l)
	})
}

// When the caller's ctx ends, so does fn's. The lock is released anyway.
func TestDoContextEnds(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := r.locker().Do(ctx, "k", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if err != context.DeadlineExceeded {
			t.Errorf("Do returned %v, want fn's own error", err)
		}
		synctest.Wait()
		r.empty()
	})
}

// If fn panics or ends its goroutine, Do releases the lock and lets the panic or the end go on.
func TestDoPanics(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		func() {
			defer func() {
				if p := recover(); p != "boom" {
					t.Errorf("recovered %v, want the panic of fn", p)
				}
			}()
			_ = l.Do(t.Context(), "k", func(context.Context) error { panic("boom") })
		}()
		synctest.Wait()
		r.empty()

		ended := make(chan bool)
		go func() {
			returned := false
			defer func() { ended <- !returned }()
			_ = l.Do(t.Context(), "k", func(context.Context) error { runtime.Goexit(); return nil })
			returned = true
		}()
		if !<-ended {
			t.Error("Do returned after Goexit")
		}
		synctest.Wait()
		r.empty()
	})
}

// Do does not modify the caller's options.
func TestDoOptions(t *testing.T) {
	r := newRig(t, 1, false)
	opts := make([]LockOption, 1, 2)
	opts[0] = WithTTL(time.Minute)
	if err := r.locker().Do(t.Context(), "k", func(context.Context) error { return nil }, opts...); err != nil {
		t.Fatal(err)
	}
	if opts[:2][1] != nil {
		t.Error("Do wrote into the caller's slice")
	}
}

// Do and Lock exclude each other: there is one holder at a time.
func TestDoExcludes(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, counter := r.locker(), 0
		done := make(chan error)
		for range 6 {
			go func() {
				done <- l.Do(t.Context(), "k", func(context.Context) error {
					n := counter
					time.Sleep(20 * time.Second)
					counter = n + 1
					return nil
				})
			}()
		}
		for range 6 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if counter != 6 {
			t.Errorf("%d of 6 updates, the others were lost", counter)
		}
		if n := r.arrived(faulty.Kind(backend.OpExtend)); n < 6*5*r.need() {
			t.Errorf("%d extensions", n)
		}
	})
}
