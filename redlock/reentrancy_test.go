package redlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// quiet fails the test if f makes a call on any node.
func (r *rig) quiet(what string, f func()) {
	r.t.Helper()
	synctest.Wait()
	before := r.calls()
	f()
	synctest.Wait()
	if n := r.calls() - before; n != 0 {
		r.t.Errorf("%s: %d calls, want none", what, n)
	}
}

// held fails the test unless a quorum of nodes holds key for lock.
func (r *rig) held(lock *Lock, what string) {
	r.t.Helper()
	if n := r.holders(lock.Key(), lock.Token()); n < r.need() {
		r.t.Fatalf("%s: %d nodes hold the lock, want a quorum", what, n)
	}
}

// unlocks unlocks lock, which must be held.
func (r *rig) unlocks(lock *Lock) {
	r.t.Helper()
	if err := lock.Unlock(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// A call whose ctx holds the key locks it again at once, by any method and to any depth. It gets
// another handle on the same lock. Neither entering nor leaving asks a node. The outermost Unlock
// releases the lock.
func TestReentrancy(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithAutoExtend(), WithKeyPrefix("app:"))
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		time.Sleep(2 * time.Second)
		same := func(inner *Lock) {
			t.Helper()
			if inner == outer {
				t.Error("the nested call returned the same handle")
			}
			if inner.Key() != "k" || inner.Token() != outer.Token() || !inner.Until().Equal(outer.Until()) ||
				inner.Report().String() != outer.Report().String() || inner.Err() != nil {
				t.Errorf("nested: %q until %v, %v; want %q until %v", inner.Key(), inner.Until(), inner.Err(), outer.Key(), outer.Until())
			}
		}
		r.quiet("nested calls", func() {
			a, err := l.Lock(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			same(a)
			type value struct{}
			b, err := l.TryLock(context.WithValue(a.Context(ctx), value{}, 1), "k")
			if err != nil {
				t.Fatal(err)
			}
			same(b)
			ran := false
			err = l.Do(b.Context(t.Context()), "k", func(ctx context.Context) error {
				c, err := l.TryLock(ctx, "k")
				if err != nil {
					return err
				}
				same(c)
				ran = true
				return errors.Join(c.Unlock(ctx), errMine)
			})
			if !ran || !errors.Is(err, errMine) || errors.Is(err, ErrNotHeld) {
				t.Errorf("Do: ran %v, error %v", ran, err)
			}
			r.unlocks(b)
			r.unlocks(a)
		})
		if n := r.holders("app:k", outer.Token()); n < r.need() {
			t.Fatalf("%d nodes hold the lock after the nested ones were unlocked", n)
		}
		if ctx.Err() != nil || outer.Err() != nil {
			t.Errorf("the outermost handle ended: %v, %v", context.Cause(ctx), outer.Err())
		}
		r.unlocks(outer)
		synctest.Wait()
		r.empty()
	})
}

// Do within Do, with work that takes longer than the TTL at every depth.
func TestReentrancyDo(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		var work func(ctx context.Context, depth int) error
		work = func(ctx context.Context, depth int) error {
			return l.Do(ctx, "k", func(ctx context.Context) error {
				for range 2 {
					time.Sleep(15 * time.Second)
					if n := r.holders("k", ""); n < r.need() || ctx.Err() != nil {
						t.Fatalf("depth %d: %d nodes hold the lock, ctx: %v", depth, n, context.Cause(ctx))
					}
					if depth > 0 {
						if err := work(ctx, depth-1); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		if err := work(t.Context(), 2); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		r.empty()
	})
}

// The lock is released when the last handle is unlocked, whatever the order, so nobody who still
// works loses it. An unlocked handle has ended even if the lock goes on.
func TestReentrancyOuterUnlocksFirst(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithAutoExtend())
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		inner := must(l.Lock(ctx, "k"))(t)
		work, detached := inner.Context(t.Context()), inner.Context(context.WithoutCancel(ctx))
		r.quiet("the first Unlock", func() { r.unlocks(outer) })
		if context.Cause(ctx) != ErrReleased || outer.Err() != ErrReleased {
			t.Errorf("the unlocked handle: cause %v, Err %v; want ErrReleased", context.Cause(ctx), outer.Err())
		}
		if late := outer.Context(t.Context()); context.Cause(late) != ErrReleased {
			t.Errorf("a later context of it: %v, want ErrReleased", context.Cause(late))
		}
		r.quiet("Extend of it", func() { matches(t, outer.Extend(t.Context(), time.Minute), ErrNotHeld) })
		time.Sleep(time.Minute)
		r.held(inner, "a minute later")
		if work.Err() != nil || detached.Err() != nil || inner.Err() != nil {
			t.Errorf("the nested handle ended: %v, %v, %v", context.Cause(work), context.Cause(detached), inner.Err())
		}
		if err := inner.Extend(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
		r.unlocks(inner)
		if context.Cause(work) != ErrReleased || context.Cause(detached) != ErrReleased {
			t.Errorf("contexts ended with %v, %v", context.Cause(work), context.Cause(detached))
		}
		synctest.Wait()
		r.empty()
	})
}

// must returns the first of two results, or fails the test if the second is an error.
func must[T any](lock T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return lock
	}
}

// Each handle counts once, however often it is unlocked.
func TestReentrancyUnlockedTwice(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		a, b := must(l.Lock(ctx, "k"))(t), must(l.Lock(ctx, "k"))(t)
		r.quiet("Unlock of one, three times", func() {
			for range 3 {
				r.unlocks(a)
			}
		})
		r.held(outer, "then")
		r.unlocks(b)
		r.held(outer, "with the outermost alone")
		r.unlocks(outer)
		synctest.Wait()
		r.empty()
		n := r.arrived(releases)
		for _, h := range []*Lock{a, b, outer} {
			r.unlocks(h)
		}
		synctest.Wait()
		if r.arrived(releases) != n || n < r.need() {
			t.Errorf("%d releases, then %d", n, r.arrived(releases))
		}
	})
}

// The context of a handle ends with that handle. The contexts of the other handles go on.
func TestReentrancyContexts(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithAutoExtend())
		outer := r.lock(l, "k")
		root := outer.Context(t.Context())
		a, b := must(l.Lock(root, "k"))(t), must(l.Lock(root, "k"))(t)
		ctxA, ctxB := a.Context(root), b.Context(root)
		child, cancel := context.WithCancel(ctxA)
		defer cancel()
		r.unlocks(a)
		synctest.Wait()
		for _, ctx := range []context.Context{ctxA, child} {
			if ctx.Err() != context.Canceled || context.Cause(ctx) != ErrReleased {
				t.Errorf("the context of the unlocked handle: %v, cause %v", ctx.Err(), context.Cause(ctx))
			}
		}
		if ctxB.Err() != nil || root.Err() != nil {
			t.Errorf("the contexts of the other handles: %v, %v", context.Cause(ctxB), context.Cause(root))
		}
		for _, m := range r.mem {
			m.Flush()
		}
		matches(t, b.Extend(t.Context(), time.Minute), ErrNotHeld)
		for _, ctx := range []context.Context{ctxB, root} {
			matches(t, context.Cause(ctx), ErrNotHeld)
		}
		matches(t, outer.Err(), ErrNotHeld)
		if a.Err() != ErrReleased {
			t.Errorf("the handle that was unlocked earlier: %v, want ErrReleased as before", a.Err())
		}
		matches(t, b.Unlock(t.Context()), ErrNotHeld)
		if matches(t, b.Err(), ErrNotHeld); b.Err() == ErrReleased {
			t.Error("a handle that was unlocked after the loss reports a release")
		}
		matches(t, outer.Unlock(t.Context()), ErrNotHeld)
		if contexts, _, nested := outer.handle.Count(); contexts+nested != 0 || l.keeper.Count().Watched != 0 {
			t.Error("a lock that has ended is still registered")
		}
	})
}

// A call under a lock that has ended gets no new lock, even if its ctx has not ended. No node is
// asked.
func TestReentrancyEnded(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, r *rig, lock *Lock, forward func(time.Duration))
		want string
	}{
		{"past its validity", func(*testing.T, *rig, *Lock, func(time.Duration)) {
			time.Sleep(9898 * time.Millisecond)
		}, "its validity ended at"},
		{"suspended", func(_ *testing.T, _ *rig, _ *Lock, forward func(time.Duration)) {
			forward(9898 * time.Millisecond)
		}, "its validity ended at"},
		{"lost", func(t *testing.T, r *rig, lock *Lock, _ func(time.Duration)) {
			for _, m := range r.mem {
				m.Flush()
			}
			matches(t, lock.Extend(t.Context(), time.Second), ErrNotHeld)
		}, "extend \"k\": not held"},
		{"taken by another", func(t *testing.T, r *rig, lock *Lock, _ func(time.Duration)) {
			time.Sleep(11 * time.Second)
			r.lock(r.locker(), "k", WithTTL(time.Hour))
		}, "its validity ended at"},
		{"unlocked", func(_ *testing.T, r *rig, lock *Lock, _ func(time.Duration)) {
			r.unlocks(lock)
		}, "was released"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker(WithReentrancy())
				forward := suspend(l)
				lock := r.lock(l, "k")
				ctx := lock.Context(t.Context())
				deaf := context.WithoutCancel(ctx)
				tc.end(t, r, lock, forward)
				ran := func(context.Context) error { t.Error("fn ran"); return nil }
				r.quiet(tc.name, func() {
					_, err := l.Lock(deaf, "k")
					_, err2 := l.TryLock(deaf, "k", WithTTL(time.Hour))
					for _, err := range []error{err, err2, l.Do(deaf, "k", ran)} {
						matches(t, err, ErrNotHeld)
						differs(t, err, ErrTaken, ErrUnavailable, context.Canceled)
						var q *QuorumError
						if !errors.As(err, &q) || q.Tries != 0 || q.Op != "lock" || !strings.Contains(err.Error(), tc.want) {
							t.Errorf("error %v, want one that contains %q", err, tc.want)
						}
						if strings.Contains(err.Error(), lock.Token()) {
							t.Error("the token is in the error")
						}
					}
					_, err = l.TryLock(ctx, "k")
					matches(t, err, context.Canceled, context.Cause(ctx))
				})
			})
		})
	}
}

// A nested call through an unlocked handle fails, even while another handle still holds the lock.
func TestReentrancyThroughAnUnlockedHandle(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		inner := must(l.TryLock(outer.Context(t.Context()), "k"))(t)
		deaf := context.WithoutCancel(inner.Context(t.Context()))
		r.unlocks(inner)
		r.quiet("TryLock", func() {
			_, err := l.TryLock(deaf, "k")
			matches(t, err, ErrNotHeld)
		})
		r.unlocks(outer)
		synctest.Wait()
		r.empty()
	})
}

// A call is not nested if it has another key, another Locker, a ctx that is not derived from the
// lock's, or a Locker without re-entrancy. A ctx that holds several keys nests for each of them.
func TestReentrancyScope(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, plain := r.locker(WithReentrancy()), r.locker()
		a := r.lock(l, "a")
		ctx := a.Context(t.Context())
		b := must(l.TryLock(ctx, "b"))(t)
		if b.Token() == a.Token() {
			t.Error("another key was nested")
		}
		both := b.Context(ctx)
		for _, outer := range []*Lock{a, b} {
			inner := must(l.TryLock(both, outer.Key()))(t)
			if inner.Token() != outer.Token() {
				t.Errorf("%q: the nested call returned another lock", outer.Key())
			}
			r.unlocks(inner)
		}
		_, err := l.TryLock(ctx, "b") // ctx is older than the lock
		matches(t, err, ErrTaken)
		differs(t, err, ErrNotHeld)
		_, err = l.TryLock(t.Context(), "a")
		matches(t, err, ErrTaken)
		_, err = r.locker(WithReentrancy()).TryLock(ctx, "a")
		matches(t, err, ErrTaken)
		_, err = r.locker(WithReentrancy(), WithKeyPrefix("a")).TryLock(r.lock(plain, "aa").Context(ctx), "a")
		matches(t, err, ErrTaken)

		k := r.lock(plain, "k")
		ctx = k.Context(t.Context())
		_, err = plain.TryLock(ctx, "k")
		matches(t, err, ErrTaken)
		if !strings.Contains(err.Error(), "WithReentrancy") {
			t.Errorf("the error does not mention the option that is missing: %v", err)
		}
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		start := time.Now()
		_, err = plain.Lock(bounded, "k")
		matches(t, err, ErrTaken)
		differs(t, err, context.DeadlineExceeded)
		took(t, start, 0, 0)
		_, err = plain.TryLock(t.Context(), "k")
		if matches(t, err, ErrTaken); strings.Contains(err.Error(), "WithReentrancy") {
			t.Errorf("an unnecessary hint: %v", err)
		}
		r.unlocks(must(plain.TryLock(ctx, "k", WithReentrancy()))(t)) // the call may request it
		r.held(k, "after the nested handle")
	})
}

// The hint about WithReentrancy is only for a caller that waits for itself.
func TestReentrancyHint(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		ctx := lock.Context(t.Context())
		hinted := func(what string, err error, want bool, target error) {
			t.Helper()
			if matches(t, err, target); strings.Contains(err.Error(), "WithReentrancy") != want {
				t.Errorf("%s: %v, want a hint: %v", what, err, want)
			}
		}
		_, err := l.TryLock(ctx, "k")
		hinted("a caller that holds the lock", err, true, ErrTaken)
		r.setAll(faulty.Refuse(nil))
		_, err = l.TryLock(ctx, "k")
		hinted("when nodes cannot be reached", err, false, ErrUnavailable)
		r.clear()
		time.AfterFunc(time.Second, func() { l.Close(t.Context()) })
		_, err = l.Lock(context.WithoutCancel(ctx), "k")
		hinted("when the Locker is closed", err, false, ErrClosed)

		l = r.locker()
		lock = r.lock(l, "other")
		deaf := context.WithoutCancel(lock.Context(t.Context()))
		r.unlocks(lock)
		synctest.Wait()
		r.lock(l, "other")
		_, err = l.TryLock(deaf, "other")
		hinted("a caller that held the lock", err, false, ErrTaken)
	})
}

// A lock that extends itself without a limit goes on to do so, whatever the limits of nested
// calls.
func TestReentrancyWithoutLimit(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		for _, opts := range [][]LockOption{{WithAutoExtend()}, nil} { // without options, the nested call starts the extensions
			outer := r.lock(l, "k", opts...)
			ctx := outer.Context(t.Context())
			nested := must(l.TryLock(ctx, "k", WithAutoExtend()))(t)
			limited := must(l.TryLock(ctx, "k", WithAutoExtend(), WithMaxHold(time.Hour)))(t)
			time.Sleep(2 * time.Second)
			r.quiet("entering it", func() { r.unlocks(must(l.TryLock(ctx, "k"))(t)) })
			for _, lock := range []*Lock{limited, nested, outer} {
				r.unlocks(lock)
			}
			synctest.Wait()
		}
	})
}

// A nested handle is valid for at least its own TTL. If less is left, the lock is extended to
// that. Otherwise it is not extended.
func TestReentrancyTTL(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		time.Sleep(5 * time.Second)
		until := outer.Until()
		r.quiet("a shorter TTL", func() { r.unlocks(must(l.TryLock(ctx, "k", WithTTL(4*time.Second)))(t)) })
		if !outer.Until().Equal(until) {
			t.Errorf("Until moved by %v", outer.Until().Sub(until))
		}
		inner := must(l.TryLock(ctx, "k", WithTTL(time.Minute)))(t)
		want := time.Now().Add(time.Minute - 602*time.Millisecond)
		if !inner.Until().Equal(want) || !outer.Until().Equal(want) {
			t.Errorf("Until %v and %v, want %v", inner.Until(), outer.Until(), want)
		}
		r.unlocks(inner)
		if !outer.Until().Equal(want) {
			t.Error("Until moved back")
		}
		if got := r.expiry("k", outer.Token()); got.Before(want) {
			t.Errorf("the nodes keep it until %v, want %v at least", got, want)
		}
	})
}

// After a suspension, the wall clock decides what is left.
func TestReentrancyTTLSuspended(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithTTL(time.Minute))
		forward := suspend(l)
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		r.quiet("before", func() { r.unlocks(must(l.TryLock(ctx, "k", WithTTL(30*time.Second)))(t)) })
		forward(40 * time.Second)
		before := r.arrived(faulty.Kind(backend.OpExtend))
		r.unlocks(must(l.TryLock(ctx, "k", WithTTL(30*time.Second)))(t))
		if r.arrived(faulty.Kind(backend.OpExtend)) == before {
			t.Error("no extension, with 19 s left")
		}
	})
}

// If that extension fails, there is no nested handle. The lock is unchanged, and its handles
// release it.
func TestReentrancyNotExtended(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		until := outer.Until()
		r.setAll(faulty.Refuse(nil))
		_, err := l.TryLock(ctx, "k", WithTTL(time.Minute))
		matches(t, err, ErrUnavailable)
		differs(t, err, ErrNotHeld, ErrTaken)
		if outer.Err() != nil || !outer.Until().Equal(until) {
			t.Errorf("the outer handle: %v, until %v", outer.Err(), outer.Until())
		}
		r.clear()
		r.unlocks(outer)
		synctest.Wait()
		r.empty()

		// If the other handles were unlocked meanwhile, the failed nested call releases the lock.
		outer = r.lock(l, "k")
		r.setAll(faulty.Delay(100 * time.Millisecond))
		time.AfterFunc(10*time.Millisecond, func() { r.unlocks(outer) })
		lost, cancel := context.WithCancel(outer.Context(t.Context()))
		defer cancel()
		_, err = l.Lock(lost, "k", WithTTL(time.Minute))
		if err == nil {
			t.Fatal("a handle, although ctx ended")
		}
		r.clean(l)
	})
}

// A nested call is as patient with unavailable nodes as any other. It does not wait with TryLock,
// or if the nodes always reject. Otherwise it waits until they answer, its policy or ctx ends the
// wait, or the lock has ended.
func TestReentrancyOutage(t *testing.T) {
	refuse := faulty.Refuse(nil)
	forGood := faulty.Refuse(backend.MarkReply(errors.New("NOPERM this user has no permissions")))
	for _, tc := range []struct {
		name   string
		fault  faulty.Fault
		outage time.Duration
		bound  time.Duration // of ctx
		opts   []LockOption
		want   []error       // nil: the call nests
		after  time.Duration // at least this long, and at most half a second longer
	}{
		{"for a moment", refuse, 2 * time.Second, time.Hour, nil, nil, 2 * time.Second},
		{"until the lock is over", refuse, time.Hour, time.Hour, nil, []error{ErrUnavailable, ErrNotHeld}, 29 * time.Second},
		{"longer than ctx", refuse, time.Hour, 3 * time.Second, nil, []error{ErrUnavailable, context.DeadlineExceeded}, 3 * time.Second},
		{"ctx ends during an attempt", faulty.Hang(), time.Hour, 100 * time.Millisecond, nil, []error{ErrUnavailable, context.DeadlineExceeded}, 100 * time.Millisecond},
		{"with a policy", refuse, time.Hour, time.Hour, []LockOption{WithRetry(Fixed(time.Second).Limit(4))}, []error{ErrUnavailable}, 3 * time.Second},
		{"rejected forever", forGood, time.Hour, time.Hour, nil, []error{ErrUnavailable}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker(WithReentrancy())
				outer := r.lock(l, "k", WithTTL(30*time.Second))
				ctx, cancel := context.WithTimeout(outer.Context(t.Context()), tc.bound)
				defer cancel()
				r.setAll(tc.fault)
				time.AfterFunc(tc.outage, r.clear)
				start := time.Now()
				inner, err := l.Lock(ctx, "k", append(tc.opts, WithTTL(time.Minute))...)
				took(t, start, tc.after, tc.after+time.Second)
				if tc.want == nil {
					if err != nil {
						t.Fatal(err)
					}
					r.unlocks(inner)
				}
				matches(t, err, tc.want...)
				if err != nil && strings.Count(err.Error(), context.DeadlineExceeded.Error()) > 1 {
					t.Errorf("the error mentions twice that ctx has ended: %v", err)
				}
				if outer.Err() == nil {
					r.clear()
					time.Sleep(3 * time.Second) // the calls that hang end
					r.unlocks(outer)
				}
			})
		})
	}
}

// That extension found the lock lost.
func TestReentrancyFoundLost(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		synctest.Wait()
		for _, m := range r.mem {
			m.Flush()
		}
		_, err := l.Lock(ctx, "k", WithTTL(time.Minute))
		matches(t, err, ErrNotHeld)
		matches(t, context.Cause(ctx), ErrNotHeld)
		r.empty()
	})
}

// A nested call with WithAutoExtend makes the lock extend itself, at the nested call's interval
// and up to its limit, until the lock is released. A lock that already extends itself goes on as
// before.
func TestReentrancyAutoExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithTTL(time.Minute))
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		time.Sleep(50 * time.Second)
		err := l.Do(ctx, "k", func(ctx context.Context) error {
			time.Sleep(5 * time.Minute)
			return ctx.Err()
		}, WithTTL(2*time.Second))
		if err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Minute)
		r.held(outer, "after the nested Do")
		r.unlocks(outer)
		synctest.Wait()
		r.empty()

		outer = r.lock(l, "k")
		ctx = outer.Context(t.Context())
		start := time.Now()
		inner := must(l.Lock(ctx, "k", WithAutoExtend(), WithMaxHold(2*time.Minute)))(t)
		second := must(l.Lock(ctx, "k", WithAutoExtend(), WithTTL(time.Second)))(t)
		<-ctx.Done()
		took(t, start, 2*time.Minute-2*time.Second, 2*time.Minute)
		matches(t, inner.Err(), ErrNotHeld)
		matches(t, second.Err(), ErrNotHeld)
	})
}

// A lock whose extensions are limited gives a nested handle its whole TTL.
func TestReentrancyMaxHold(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithAutoExtend())
		outer := r.lock(l, "k", WithMaxHold(15*time.Second))
		ctx := outer.Context(t.Context())
		time.Sleep(14 * time.Second)
		start := time.Now()
		inner := must(l.Lock(ctx, "k"))(t)
		if want := time.Now().Add(9898 * time.Millisecond); !inner.Until().Equal(want) {
			t.Errorf("until %v, want %v", inner.Until(), want)
		}
		<-ctx.Done()
		took(t, start, 9898*time.Millisecond, 9898*time.Millisecond)

		// It does not matter which handle set the limit.
		outer = r.lock(r.locker(WithReentrancy()), "other")
		ctx = outer.Context(t.Context())
		l = outer.locker
		must(l.Lock(ctx, "other", WithAutoExtend(), WithMaxHold(15*time.Second)))(t)
		time.Sleep(14 * time.Second)
		inner = must(l.Lock(ctx, "other"))(t)
		if want := time.Now().Add(9898 * time.Millisecond); !inner.Until().Equal(want) {
			t.Errorf("until %v, want %v", inner.Until(), want)
		}
	})
}

// The end of the validity ends the remaining handles, even if the handle that had the first
// context was unlocked.
func TestReentrancyExpires(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		start := time.Now()
		outer := r.lock(l, "k")
		inner := must(l.Lock(outer.Context(t.Context()), "k"))(t)
		ctx := inner.Context(t.Context())
		r.unlocks(outer)
		<-ctx.Done()
		took(t, start, 9898*time.Millisecond, 9898*time.Millisecond)
		matches(t, context.Cause(ctx), ErrNotHeld)
		if outer.Err() != ErrReleased {
			t.Errorf("the handle that was unlocked earlier: %v", outer.Err())
		}
	})
}

// All calls with one ctx are one holder. Others wait until the last of them has finished, even if
// it outlives the Do in which it began.
func TestReentrancySharedContext(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		other := r.locker()
		start := time.Now()
		var inside, most int
		var mu sync.Mutex
		var workers sync.WaitGroup
		err := l.Do(t.Context(), "k", func(ctx context.Context) error {
			for i := range 3 {
				entered := make(chan struct{})
				workers.Go(func() {
					err := l.Do(context.WithoutCancel(ctx), "k", func(ctx context.Context) error {
						close(entered)
						mu.Lock()
						inside++
						most = max(most, inside)
						mu.Unlock()
						time.Sleep(time.Duration(i+1) * time.Minute)
						mu.Lock()
						inside--
						mu.Unlock()
						return ctx.Err()
					})
					if err != nil {
						t.Error(err)
					}
				})
				<-entered
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		took(t, start, 0, 0)
		lock, err := other.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		took(t, start, 3*time.Minute, 3*time.Minute+5*time.Second)
		if inside != 0 || most != 3 {
			t.Errorf("%d inside when another had the lock, %d at most; want 0 and 3", inside, most)
		}
		workers.Wait()
		r.unlocks(lock)
	})
}

// Handles come and go concurrently and in any order. The lock is held as long as there is a
// handle, and is released once.
func TestReentrancyConcurrently(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy(), WithAutoExtend())
		for range 20 {
			outer := r.lock(l, "k")
			synctest.Wait()
			before := r.arrived(releases)
			var work func(ctx context.Context, depth int)
			var workers sync.WaitGroup
			work = func(ctx context.Context, depth int) {
				for range 3 {
					time.Sleep(rand.N(time.Second))
					lock, err := l.TryLock(ctx, "k")
					if err != nil { // its handle was unlocked already
						matches(t, err, ErrNotHeld)
						continue
					}
					if depth > 0 {
						workers.Go(func() { work(context.WithoutCancel(lock.Context(ctx)), depth-1) })
					}
					time.Sleep(rand.N(time.Second))
					if lock.Err() != nil || r.holders("k", outer.Token()) < r.need() {
						t.Errorf("a handle without a lock: %v", lock.Err())
					}
					for range 2 {
						workers.Go(func() {
							if err := lock.Unlock(t.Context()); err != nil {
								t.Error(err)
							}
						})
					}
				}
			}
			root := context.WithoutCancel(outer.Context(t.Context()))
			for range 3 {
				workers.Go(func() { work(root, 2) })
			}
			time.Sleep(rand.N(3 * time.Second))
			r.unlocks(outer)
			workers.Wait()
			synctest.Wait()
			r.empty()
			if n := r.arrived(releases) - before; n != len(r.mem) {
				t.Fatalf("%d releases on %d nodes", n, len(r.mem))
			}
		}
	})
}

// Hooks see the lock, and an extension that a nested call needed.
func TestReentrancyHooks(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var h told
		l := r.locker(WithReentrancy(), WithHooks(h.hooks()))
		check := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if kinds, _ := h.take(); !slices.Equal(kinds, want) {
				t.Errorf("%s: hooks %v, want %v", what, kinds, want)
			}
		}
		outer := r.lock(l, "k")
		ctx := outer.Context(t.Context())
		check("the lock", "locked")
		inner := must(l.Lock(ctx, "k"))(t)
		check("a nested one")
		longer := must(l.Lock(ctx, "k", WithTTL(time.Minute)))(t)
		check("a longer one", "extended")
		r.unlocks(outer)
		r.unlocks(longer)
		check("all but one")
		r.unlocks(inner)
		check("the last", "unlocked")

		outer = r.lock(l, "k")
		ctx = outer.Context(t.Context())
		inner = must(l.Lock(ctx, "k"))(t)
		<-ctx.Done()
		check("past the validity", "locked", "lost")
		_, _ = l.Lock(context.WithoutCancel(ctx), "k")
		matches(t, outer.Unlock(t.Context()), ErrNotHeld)
		check("entering it, and the first Unlock")
		_ = inner.Unlock(t.Context())
		check("the last Unlock", "unlocked")
	})
}

// A Mutex is not re-entrant, but nests in a lock that ctx holds. A resumed lock can be entered
// like any other.
func TestReentrancyMutexAndResume(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		first := r.lock(l, "k")
		synctest.Wait() // until the nodes outside the quorum have answered
		resumed := must(l.Resume(t.Context(), first.Handover()))(t)
		ctx := resumed.Context(t.Context())
		m := l.Mutex("k")
		if err := m.TryLock(ctx); err != nil {
			t.Fatal(err)
		}
		matches(t, m.TryLock(ctx), ErrTaken)
		if err := m.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		r.held(resumed, "after the Mutex")
		r.unlocks(resumed)
		synctest.Wait()
		r.empty()

		first = r.lock(l, "k")
		synctest.Wait()
		resumed = must(l.Resume(t.Context(), first.Handover(), WithAutoExtend()))(t)
		inner := must(l.Lock(resumed.Context(t.Context()), "k"))(t)
		r.unlocks(resumed)
		time.Sleep(time.Minute)
		r.held(inner, "a minute after the resumed handle was unlocked")
		r.unlocks(inner)
	})
}

// A nested handle has the fencing token of the lock. A nested call that requests a token fails if
// the lock has none.
func TestReentrancyFencing(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k", WithFencing())
		ctx := outer.Context(t.Context())
		time.Sleep(time.Second)
		for _, opts := range [][]LockOption{nil, {WithFencing()}} {
			inner := must(l.Lock(ctx, "k", opts...))(t)
			if inner.Fence() != outer.Fence() || inner.Fence() == 0 {
				t.Errorf("the nested handle has the token %d, the lock %d", inner.Fence(), outer.Fence())
			}
			r.unlocks(inner)
		}
		if _, err := l.Lock(ctx, "k", WithTTL(48*time.Hour)); err == nil {
			t.Error("the nested lock would outlive the counter")
		}
		r.held(outer, "after the nested ones")
		r.unlocks(outer)

		plain := r.lock(l, "plain")
		r.quiet("a token where there is none", func() {
			_, err := l.TryLock(plain.Context(t.Context()), "plain", WithFencing())
			if err == nil || !strings.Contains(err.Error(), "fencing") {
				t.Errorf("error %v", err)
			}
			differs(t, err, ErrTaken, ErrNotHeld, ErrUnavailable)
		})
		r.unlocks(plain)
		synctest.Wait()
		if n := r.holders("k", "") + r.holders("plain", ""); n != 0 {
			t.Errorf("%d keys are left", n)
		}
	})
}

// Once Unlock has begun, no further call nests.
func TestReentrancyWhileUnlocking(t *testing.T) {
	r := newRig(t, 1, false)
	lock := r.lock(r.locker(WithReentrancy()), "k")
	lock.handle.BeginUnlock()
	if _, err := lock.enter(false); err != ErrReleased {
		t.Errorf("error %v, want ErrReleased", err)
	}
	if _, handles, _ := lock.handle.Count(); handles != 1 {
		t.Errorf("%d handles", handles)
	}
}

// Bad input of a nested call is rejected like that of any call.
func TestReentrancyRejects(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker(WithReentrancy())
	outer := r.lock(l, "k")
	ctx, cancel := context.WithCancel(outer.Context(t.Context()))
	if _, err := l.Lock(ctx, "k", WithTTL(-1)); err == nil || errors.Is(err, ErrNotHeld) {
		t.Errorf("the error for a bad option: %v", err)
	}
	cancel()
	_, err := l.Lock(ctx, "k")
	matches(t, err, context.Canceled)
	differs(t, err, ErrNotHeld)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = l.Lock(outer.Context(t.Context()), "k")
	matches(t, err, ErrClosed)
	r.unlocks(outer)
	r.empty()
}

// Each handle has its own set of contexts, so unlocking a handle does not look at those of other
// handles. They share one mutex, which would be held for too long.
func TestContextsOfEachHandle(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		outer := r.lock(l, "k")
		var contexts []context.Context
		for range 100 {
			contexts = append(contexts, outer.Context(t.Context()))
		}
		want := func(when string, handle *Lock, own, nested int) {
			t.Helper()
			synctest.Wait()
			has, _, _ := handle.handle.Count()
			first, _, others := outer.handle.Count()
			if has != own || first != 100 || others != nested {
				t.Errorf("%s, the handle has %d contexts, the first one %d, and %d others have any; want %d, 100 and %d",
					when, has, first, others, own, nested)
			}
		}
		ctx, cancel := context.WithCancel(contexts[0])
		handle, err := l.Lock(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		want("before it has any", handle, 0, 0)
		inner := handle.Context(t.Context())
		handle.Context(ctx)
		want("with two", handle, 2, 1)
		cancel()
		want("after the parent of one has ended", handle, 1, 1)
		r.unlocks(handle)
		want("after its unlock", handle, 0, 0)
		if !errors.Is(context.Cause(inner), ErrReleased) {
			t.Errorf("its context ended with %v", context.Cause(inner))
		}
		if other, err := l.Lock(contexts[1], "k"); err != nil {
			t.Fatal(err)
		} else {
			contexts = append(contexts, other.Context(t.Context()))
			defer other.Unlock(context.Background())
		}
		for i, ctx := range contexts {
			if ctx.Err() != nil {
				t.Errorf("context %d has ended: %v", i, context.Cause(ctx))
			}
		}
		outer.lease.End(errMine) // ends all contexts of every handle
		for i, ctx := range contexts {
			if !errors.Is(context.Cause(ctx), errMine) {
				t.Errorf("context %d of a lost lock: %v", i, context.Cause(ctx))
			}
		}
		_ = outer.Unlock(t.Context())
	})
}
