package redlock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A free lock is acquired at once on every node, under the caller's own key and for the TTL.
// Unlock deletes it from all nodes.
func TestLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		start := time.Now()
		lock, err := l.Lock(t.Context(), "orders/42")
		if err != nil {
			t.Fatal(err)
		}
		took(t, start, 0, 0)
		synctest.Wait()
		if n := r.holders("orders/42", lock.Token()); n != len(r.mem) {
			t.Errorf("%d of %d nodes hold the token under the key", n, len(r.mem))
		}
		if got, want := r.expiry("orders/42", lock.Token()), start.Add(DefaultTTL); !got.Equal(want) {
			t.Errorf("the servers let it expire after %v, want %v", got.Sub(start), DefaultTTL)
		}
		if got, want := lock.Until().Sub(start), DefaultTTL-DefaultTTL/100-2*time.Millisecond; got != want {
			t.Errorf("the validity is %v, want the TTL less 1 %% and 2 ms, %v", got, want)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.empty()
	})
}

// The options of New and of a call take effect on the servers.
func TestLockOptions(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithKeyPrefix("app:"), WithTTL(4*time.Second), WithOwner("host-1"), WithDrift(0.1))
		a := r.lock(l, "k")
		b := r.lock(l, "other", WithTTL(1500*time.Microsecond+time.Second), WithOwner("host-2"))
		if a.Key() != "k" || r.holders("app:k", a.Token()) < r.need() {
			t.Errorf("key %q is not on the servers with its prefix", a.Key())
		}
		if !strings.HasPrefix(a.Token(), "host-1:") || !strings.HasPrefix(b.Token(), "host-2:") {
			t.Error("a token does not begin with the owner's label")
		}
		if got, want := time.Until(a.Until()), 4*time.Second-400*time.Millisecond-2*time.Millisecond; got != want {
			t.Errorf("validity %v, want %v", got, want)
		}
		if got, want := time.Until(r.expiry("app:other", b.Token())), 1001*time.Millisecond; got != want {
			t.Errorf("TTL on the servers %v, want %v: whole milliseconds, a fraction dropped", got, want)
		}
	})
}

// Each attempt has a token of its own with 130 random bits, which was never used before.
func TestTokens(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker(WithOwner("me"), WithRetry(Fixed(0).Limit(10)))
	r.mem[0].Set("taken", "other", time.Minute)
	if _, err := l.Lock(t.Context(), "taken"); !errors.Is(err, ErrTaken) {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, c := range r.fault[0].Calls() {
		token := c.Ops[0].Token
		switch op := c.Ops[0]; {
		case op.Kind == backend.OpEval && op.Script == lua.Acquire: // the first acquire
			token = op.Args[0]
		case op.Kind != backend.OpSetNX:
			continue
		}
		if label, random, _ := strings.Cut(token, ":"); label != "me" || len(random) != 26 {
			t.Errorf("token %q is not a label and 26 characters", token)
		}
		if seen[token] {
			t.Errorf("token %q was used twice", token)
		}
		seen[token] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d tokens, want one for each of 10 attempts", len(seen))
	}
}

// Lock waits while another holder has the lock. It acquires the lock soon after that holder
// unlocks it or lets it expire.
func TestLockWaits(t *testing.T) {
	for _, end := range []string{"unlocked", "expired"} {
		t.Run(end, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				a, b := r.locker(WithTTL(3*time.Second)), r.locker()
				held := r.lock(a, "k")
				free := 3 * time.Second
				if end == "unlocked" {
					free = time.Second
					time.AfterFunc(free, func() { _ = held.Unlock(context.Background()) })
				}
				start := time.Now()
				lock, err := b.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				took(t, start, free, free+250*time.Millisecond)
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Of many concurrent callers each gets the lock, one after another.
func TestLockExcludes(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(time.Millisecond))
		inside, done := 0, make(chan error)
		for range 8 {
			l := r.locker()
			go func() {
				lock, err := l.Lock(t.Context(), "k")
				if err == nil {
					if inside++; inside != 1 {
						err = fmt.Errorf("%d holders at once", inside)
					}
					time.Sleep(10 * time.Millisecond)
					inside--
					err = errors.Join(err, lock.Unlock(t.Context()))
				}
				done <- err
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// A ctx that ends also ends the wait at once, with an error that matches ctx's and says why the
// call waited. The call leaves nothing behind.
func TestLockContextEnds(t *testing.T) {
	mine := errors.New("shutting down")
	tests := []struct {
		name string
		ctx  func() (context.Context, context.CancelFunc)
		want []error
	}{
		{"deadline", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 700*time.Millisecond)
		}, []error{context.DeadlineExceeded}},
		{"cancel", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(700*time.Millisecond, cancel)
			return ctx, cancel
		}, []error{context.Canceled}},
		{"cause", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(700*time.Millisecond, func() { cancel(mine) })
			return ctx, func() { cancel(nil) }
		}, []error{context.Canceled, mine}},
	}
	faults := []struct {
		name  string
		set   func(r *rig)
		class error
	}{
		{"taken", func(r *rig) {
			for _, m := range r.mem {
				m.Set("k", "other", time.Minute)
			}
		}, ErrTaken},
		{"hung", func(r *rig) { r.setAll(faulty.Hang()) }, ErrUnavailable},
		{"down", func(r *rig) { r.setAll(faulty.Refuse(nil)) }, ErrUnavailable},
	}
	for _, tt := range tests {
		for _, f := range faults {
			t.Run(tt.name+" "+f.name, func(t *testing.T) {
				eachRig(t, func(t *testing.T, r *rig) {
					l := r.locker()
					f.set(r)
					ctx, cancel := tt.ctx()
					defer cancel()
					start := time.Now()
					lock, err := l.Lock(ctx, "k")
					if lock != nil {
						t.Fatal("got the lock")
					}
					took(t, start, 700*time.Millisecond, 700*time.Millisecond)
					matches(t, err, append(tt.want, f.class)...)
					var q *QuorumError
					if !errors.As(err, &q) || len(q.Rounds) == 0 || q.Tries < len(q.Rounds) {
						t.Errorf("error %v is not a *QuorumError with the rounds that were made", err)
					}
					for _, m := range r.mem {
						m.Flush() // deletes what the other holder has
					}
					r.clean(l)
				})
			})
		}
	}
}

// The ctx of Lock bounds the wait, not the hold.
func TestLockContextDoesNotBoundTheHold(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		ctx, cancel := context.WithCancel(t.Context())
		lock, err := l.Lock(ctx, "k", WithAutoExtend())
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(time.Minute)
		if err := lock.Err(); err != nil || r.holders("k", lock.Token()) < r.need() {
			t.Errorf("the lock ended with the ctx of Lock: %v", err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A caller whose ctx ends leaves nothing behind, at whatever moment that happens.
func TestLockCancelledLeavesNothing(t *testing.T) {
	slow := []struct {
		name  string
		fault faulty.Fault
	}{
		{"slow request", faulty.Delay(20 * time.Millisecond)},
		{"slow reply", faulty.DelayReply(20 * time.Millisecond)},
		{"late request", faulty.Late(20 * time.Millisecond)},
		{"late, without cancellation", faulty.Chain(faulty.IgnoreCancel(), faulty.Late(20*time.Millisecond))},
	}
	for _, f := range slow {
		t.Run(f.name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker()
				for after := time.Duration(0); after < 50*time.Millisecond; after += 7 * time.Millisecond {
					for i, n := range r.fault { // each slightly slower than the one before
						n.Set(faulty.Delay(time.Duration(i)*time.Millisecond), f.fault)
					}
					ctx, cancel := context.WithTimeout(t.Context(), after)
					if after == 0 {
						cancel()
					}
					lock, err := l.Lock(ctx, "k")
					cancel()
					if err == nil {
						err = lock.Unlock(t.Context())
					} else {
						differs(t, err, ErrNotHeld)
						err = nil
					}
					if err != nil {
						t.Fatal(err)
					}
					r.clear()
					time.Sleep(time.Second)
					r.empty()
				}
				r.clean(l)
			})
		})
	}
}

// With a deadline, the last attempt is made shortly before it, however long the policy would
// pause. A lock that becomes free during the last pause is acquired.
func TestLockLastAttemptBeforeDeadline(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithRetry(Fixed(time.Hour)))
		held := r.lock(r.locker(), "k")
		time.AfterFunc(900*time.Millisecond, func() { _ = held.Unlock(context.Background()) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := l.Lock(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		took(t, start, 900*time.Millisecond, time.Second)
	})
}

// While the nodes are unavailable, Lock goes on for one TTL and then gives up. Its error does not
// match the errors of a ctx.
func TestLockUnavailable(t *testing.T) {
	faults := []struct {
		name  string
		fault faulty.Fault
	}{
		{"hung", faulty.Hang()},
		{"down", faulty.Refuse(nil)},
		{"broken", faulty.LoseRequest(nil)},
		{"loading", faulty.Refuse(backend.MarkReply(errors.New("LOADING Redis is loading the dataset in memory")))},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker(WithTTL(4 * time.Second))
				r.set(r.minority(), len(r.mem), f.fault) // one more than a quorum allows
				start := time.Now()
				_, err := l.Lock(t.Context(), "k")
				took(t, start, 4*time.Second, 5*time.Second)
				matches(t, err, ErrUnavailable)
				differs(t, err, ErrTaken, ErrNotHeld, context.Canceled, context.DeadlineExceeded)

				time.Sleep(time.Second) // the grants are released
				start = time.Now()
				_, err = l.TryLock(t.Context(), "k")
				took(t, start, 0, DefaultNodeTimeout)
				matches(t, err, ErrUnavailable)

				// The nodes answer again in time. (A hung node then answers what it was sent.)
				back := r.clear
				if f.name == "hung" {
					stall, resume := faulty.Stall()
					r.set(r.minority(), len(r.mem), stall)
					back = func() { r.clear(); resume() }
				}
				time.Sleep(3 * time.Second) // the calls that hang end
				time.AfterFunc(2*time.Second, back)
				start = time.Now()
				lock, err := l.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				took(t, start, 2*time.Second, 3*time.Second)
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.clean(l)
			})
		})
	}
}

// With a policy, the policy decides how long Lock goes on while nodes are unavailable.
func TestLockUnavailableWithPolicy(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Second))
		r.setAll(faulty.Refuse(nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := l.Lock(ctx, "k", WithRetry(Fixed(time.Second)))
		took(t, start, time.Minute, time.Minute)
		matches(t, err, ErrUnavailable, context.DeadlineExceeded)

		start = time.Now()
		_, err = l.Lock(ctx, "k", WithRetry(Fixed(time.Second)))
		took(t, start, 0, 0) // ctx has ended
		matches(t, err, context.DeadlineExceeded)

		start = time.Now()
		_, err = l.Lock(t.Context(), "k", WithRetry(Fixed(10*time.Second).Limit(3)))
		took(t, start, 20*time.Second, 20*time.Second+250*time.Millisecond) // the first attempt may wait for the next probe
		matches(t, err, ErrUnavailable)
	})
}

// Servers that always reject are not asked again. A minority of them does no harm.
func TestLockRefused(t *testing.T) {
	for _, reply := range []string{
		"NOAUTH Authentication required.",
		"NOPERM User joe has no permissions to run the 'set' command",
		"WRONGPASS invalid username-password pair or user is disabled.",
	} {
		eachRig(t, func(t *testing.T, r *rig) {
			refuse := faulty.Refuse(backend.MarkReply(errors.New(reply)))
			for _, opts := range [][]LockOption{nil, {WithRetry(Fixed(time.Second))}} {
				l := r.locker()
				r.set(r.minority(), len(r.mem), refuse)
				start := time.Now()
				_, err := l.Lock(t.Context(), "k", opts...)
				took(t, start, 0, 0)
				matches(t, err, ErrUnavailable)
				if q := err.(*QuorumError); q.Tries != 1 {
					t.Errorf("%d attempts, want 1", q.Tries)
				}
				if !strings.Contains(err.Error(), reply) {
					t.Errorf("error %q does not contain the server's error", err)
				}
				r.clean(l)
			}
			r.set(0, r.minority(), refuse)
			lock := r.lock(r.locker(), "k")
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A minority that hangs, is down, rejects or holds another's key costs nothing.
func TestMinority(t *testing.T) {
	faults := map[string]faulty.Fault{
		"hung":       faulty.Hang(),
		"down":       faulty.Refuse(nil),
		"lost":       faulty.LoseRequest(nil),
		"lost reply": faulty.LoseReply(nil),
		"refused":    faulty.Refuse(backend.MarkReply(errors.New("NOAUTH Authentication required."))),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker()
				r.set(0, r.minority(), fault)
				start := time.Now()
				for i := range 20 {
					lock, err := l.Lock(t.Context(), fmt.Sprint(i))
					if err == nil {
						err = lock.Extend(t.Context(), time.Minute)
					}
					if err == nil {
						err = lock.Unlock(t.Context())
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				took(t, start, 0, 0)
				r.clean(l)
			})
		})
	}
}

// Another holder's key on a minority does not prevent the acquisition of a free lock, and is not
// deleted.
func TestMinorityTaken(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		for _, m := range r.mem[:r.minority()] {
			m.Set("k", "other", time.Minute)
		}
		lock := r.lock(l, "k")
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := r.holders("k", "other"); n != r.minority() {
			t.Errorf("%d foreign keys are left of %d", n, r.minority())
		}
	})
}

// The process is paused while the grants arrive, for longer than the validity. The lock is not
// acquired, and the grants are released.
func TestLockGrantedTooLate(t *testing.T) {
	for _, clock := range []string{"wall", "both"} {
		t.Run(clock, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				if clock == "both" && len(r.mem) > 1 {
					return // a pause can last this long only if the caller's goroutine makes the call
				}
				l := r.locker(WithRetry(Fixed(0).Limit(40)))
				forward := suspend(l)
				lock := r.lock(l, "k") // the sender has had one answer, so the caller makes the next call itself
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // no goroutine of the sender is left, which would make the call instead
				var pause faulty.Fault
				if clock == "wall" {
					pause = func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
						results := next(ctx, ops)
						forward(10 * time.Second)
						return results
					}
				} else {
					pause = faulty.Chain(faulty.IgnoreContext(), faulty.DelayReply(10*time.Second))
				}
				r.setAll(faulty.On(faulty.Kind(backend.OpSetNX), pause))
				_, err := l.TryLock(t.Context(), "k")
				matches(t, err, ErrUnavailable)
				differs(t, err, context.DeadlineExceeded)
				if !strings.Contains(err.Error(), "granted too late") {
					t.Errorf("error %q does not say that the lock was granted too late", err)
				}
				_, err = l.Lock(t.Context(), "k")
				var q *QuorumError
				if !errors.As(err, &q) || q.Tries != 40 || len(q.Rounds) != 16 {
					t.Errorf("error %v, want 40 attempts and the reports of the last 16", err)
				}
				r.clean(l)
			})
		})
	}
}

// The validity counts from just before the first request is sent, whether requests or replies are
// slow.
func TestValidityCountsFromTheFirstSend(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"request": faulty.Delay(200 * time.Millisecond),
		"reply":   faulty.DelayReply(200 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker()
				r.setAll(fault)
				start := time.Now()
				lock := r.lock(l, "k")
				took(t, start, 200*time.Millisecond, 200*time.Millisecond)
				if got, want := lock.Until().Sub(start), 9898*time.Millisecond; got != want {
					t.Errorf("validity %v after the first send, want %v", got, want)
				}
				start = time.Now()
				if err := lock.Extend(t.Context(), 20*time.Second); err != nil {
					t.Fatal(err)
				}
				if got, want := lock.Until().Sub(start), 19798*time.Millisecond; got != want {
					t.Errorf("validity %v after the extension was sent, want %v", got, want)
				}
			})
		})
	}
}

// A failed attempt deletes its own keys before the next one, so a partial lock blocks neither the
// caller nor others.
func TestFailedAttemptLeavesNothing(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for _, m := range r.mem[r.minority():] { // one more than a quorum allows
			m.Set("k", "other", time.Minute)
		}
		l := r.locker(WithRetry(Fixed(time.Second)))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := l.Lock(ctx, "k")
			done <- err
		}()
		for range 9 {
			time.Sleep(time.Second + time.Millisecond) // after an attempt, before the next one
			for _, m := range r.mem[:r.minority()] {
				if keys := m.Keys(); len(keys) > 0 {
					t.Errorf("a node holds %q between two attempts", keys)
				}
			}
		}
		matches(t, <-done, ErrTaken)
		acquires := func(op backend.Op) bool { return op.Kind == backend.OpSetNX || op.Script == lua.Acquire }
		if got := r.arrived(acquires); got < 9*len(r.mem) {
			t.Errorf("%d acquires arrived, want at least %d", got, 9*len(r.mem))
		}
	})
}

// TryLock makes one attempt, whatever the policy says, and does not wait.
func TestTryLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithRetry(Fixed(time.Second)))
		r.lock(l, "k")
		start := time.Now()
		_, err := l.TryLock(t.Context(), "k")
		took(t, start, 0, 0)
		matches(t, err, ErrTaken)
		differs(t, err, ErrUnavailable, ErrNotHeld)
		if q := err.(*QuorumError); q.Tries != 1 || len(q.Rounds) != 1 {
			t.Errorf("%d attempts, %d rounds, want 1", q.Tries, len(q.Rounds))
		}
	})
}

// Every call with an ended ctx fails before any I/O, except the calls that release.
func TestContextEndedBefore(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		a, b := r.lock(l, "a"), r.lock(l, "b")
		m := l.Mutex("m")
		if err := m.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, f := range r.fault {
			f.Forget()
		}
		mine := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(mine)
		_, errLock := l.Lock(ctx, "k")
		_, errTry := l.TryLock(ctx, "k")
		_, errResume := l.Resume(ctx, a.Handover())
		_, errInspect := l.Inspect(ctx, "a")
		for name, err := range map[string]error{
			"Lock": errLock, "TryLock": errTry, "Resume": errResume, "Inspect": errInspect,
			"Do":     l.Do(ctx, "k", func(context.Context) error { t.Error("fn ran"); return nil }),
			"Extend": a.Extend(ctx, time.Minute), "Mutex.Lock": m.Lock(ctx), "Mutex.TryLock": m.TryLock(ctx),
		} {
			if !errors.Is(err, context.Canceled) || !errors.Is(err, mine) {
				t.Errorf("%s: error %v, want the error of ctx and its cause", name, err)
			}
			if q := (*QuorumError)(nil); errors.As(err, &q) {
				t.Errorf("%s: returned a *QuorumError, as if nodes had been asked", name)
			}
		}
		if n := r.calls(); n > 0 {
			t.Errorf("%d calls of nodes", n)
		}
		// These calls are sent anyway, and answered.
		if err := a.Unlock(ctx); err != nil {
			t.Error("Unlock:", err)
		}
		if err := l.Release(ctx, b.Handover()); err != nil {
			t.Error("Release:", err)
		}
		if err := m.Unlock(ctx); err != nil {
			t.Error("Mutex.Unlock:", err)
		}
		r.clean(l)
	})
}

// A Locker that New did not make, and a closed one, return an error.
func TestClosedAndZero(t *testing.T) {
	r := newRig(t, 1, false)
	closed := r.locker()
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(t.Context()); err != nil {
		t.Error("closed twice:", err)
	}
	tests := []struct {
		name   string
		locker *Locker
		want   error
	}{{"closed", closed, ErrClosed}, {"zero", &Locker{}, errZero}, {"nil", nil, errZero}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			_, errLock := tt.locker.Lock(ctx, "k")
			_, errTry := tt.locker.TryLock(ctx, "k")
			_, errResume := tt.locker.Resume(ctx, NewHandover("k", "x", 0))
			_, errInspect := tt.locker.Inspect(ctx, "k")
			for name, err := range map[string]error{
				"Lock": errLock, "TryLock": errTry, "Resume": errResume, "Inspect": errInspect,
				"Release": tt.locker.Release(ctx, NewHandover("k", "x", 0)),
				"Do":      tt.locker.Do(ctx, "k", func(context.Context) error { return nil }),
				"Mutex":   tt.locker.Mutex("k").Lock(ctx),
			} {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: error %v, want %v", name, err, tt.want)
				}
			}
			if tt.want == errZero {
				if err := tt.locker.Close(ctx); err != errZero {
					t.Errorf("Close: error %v, want %v", err, errZero)
				}
			}
		})
	}
	if err := new(Mutex).Lock(t.Context()); err != errZero {
		t.Errorf("zero Mutex: error %v, want %v", err, errZero)
	}
	if n := r.calls(); n > 0 {
		t.Errorf("%d calls of nodes", n)
	}
}

// Close waits for pending deletions. Handles still work. Waiting callers get ErrClosed.
func TestClose(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		held := r.lock(l, "held")
		waited := make(chan error)
		go func() {
			_, err := l.Lock(t.Context(), "held")
			waited <- err
		}()
		gone := r.lock(l, "gone")
		synctest.Wait()

		// Every node hangs, so the deletions cannot be made.
		fault, resume := faulty.Stall()
		r.setAll(fault)
		if err := gone.Unlock(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Unlock: %v, want %v", err, ErrUnavailable)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := l.Close(ctx)
		took(t, start, time.Second, time.Second)
		matches(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "still being deleted") {
			t.Errorf("error %q does not say what is still to be deleted", err)
		}
		matches(t, <-waited, ErrClosed)

		r.clear()
		resume()
		start = time.Now()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		took(t, start, 0, 3*time.Second)
		if n := r.holders("gone", ""); n > 0 {
			t.Errorf("%d nodes hold a key after Close", n)
		}
		if n := r.holders("held", held.Token()); n < r.need() {
			t.Errorf("%d nodes hold the lock that was not unlocked", n)
		}
		if err := held.Extend(t.Context(), time.Minute); err != nil {
			t.Error("Extend after Close:", err)
		}
		if err := held.Unlock(t.Context()); err != nil {
			t.Error("Unlock after Close:", err)
		}
		synctest.Wait()
		r.empty()
	})
}

// Resume takes a lock over from its token alone. Release releases it without a handle.
func TestResume(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		first := r.lock(r.locker(), "k") // of a process that has ended
		time.Sleep(5 * time.Second)

		l := r.locker()
		start := time.Now()
		lock, err := l.Resume(t.Context(), first.Handover(), WithTTL(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := lock.Until().Sub(start), 19798*time.Millisecond; got != want {
			t.Errorf("validity %v, want %v", got, want)
		}
		if got := r.expiry("k", lock.Token()); !got.Equal(start.Add(20 * time.Second)) {
			t.Errorf("the servers let it expire after %v, want 20s", got.Sub(start))
		}
		if lock.Key() != "k" || lock.Token() != first.Token() || lock.Report().Count(Granted) < r.need() {
			t.Errorf("key %q, report %v", lock.Key(), lock.Report())
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A token that nobody holds any more.
		_, err = l.Resume(t.Context(), first.Handover())
		matches(t, err, ErrNotHeld)
		differs(t, err, ErrUnavailable, ErrTaken)

		r.setAll(faulty.Hang())
		_, err = l.Resume(t.Context(), first.Handover())
		matches(t, err, ErrUnavailable)
		differs(t, err, context.DeadlineExceeded)
		r.clean(l)
	})
}

// The validity of a resumed lock counts from before the request. If the reply comes after its
// end, the lock is not resumed.
func TestResumeLate(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		forward := suspend(l)
		first := r.lock(l, "k")
		r.setAll(faulty.DelayReply(200 * time.Millisecond))
		start := time.Now()
		lock, err := l.Resume(t.Context(), first.Handover())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := lock.Until().Sub(start), 9898*time.Millisecond; got != want {
			t.Errorf("validity %v after the request, want %v", got, want)
		}
		time.AfterFunc(100*time.Millisecond, func() { forward(10 * time.Second) })
		_, err = l.Resume(t.Context(), first.Handover())
		matches(t, err, ErrUnavailable)
		if !strings.Contains(err.Error(), "granted too late") {
			t.Errorf("error %q does not say that the lock was granted too late", err)
		}
	})
}

// A resumed lock extends itself if this is requested.
func TestResumeAutoExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		first := r.lock(r.locker(), "k")
		lock, err := r.locker().Resume(t.Context(), first.Handover(), WithAutoExtend())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRelease(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		a, b := r.locker(), r.locker()
		lock := r.lock(a, "k")
		synctest.Wait() // every node has answered: this Locker's deletion is not queued behind the other one's set
		if err := b.Release(t.Context(), NewHandover("k", "somebody", 0)); !errors.Is(err, ErrNotHeld) {
			t.Errorf("a wrong token: error %v, want %v", err, ErrNotHeld)
		}
		if err := b.Release(t.Context(), lock.Handover()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		r.empty()
		if err := b.Release(t.Context(), lock.Handover()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("released twice: error %v, want %v", err, ErrNotHeld)
		}
		if err := lock.Unlock(t.Context()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Unlock after it was released elsewhere: error %v, want %v", err, ErrNotHeld)
		}
		r.setAll(faulty.Refuse(nil))
		err := b.Release(t.Context(), NewHandover("k", "t", 0))
		matches(t, err, ErrUnavailable)
		var q *QuorumError
		if !errors.As(err, &q) || q.Op != "release" || q.Rounds[0].Count(Failed) == 0 {
			t.Errorf("error %v does not name the operation that failed", err)
		}
	})
}

// A wait can end during an attempt that has no result yet. The lock was taken if the attempts
// before found it taken.
func TestLockEndsDuringAttempt(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithRetry(Fixed(40 * time.Millisecond)))
		for i, want := range []error{ErrTaken, ErrUnavailable} {
			key := fmt.Sprint("k", i)
			if want == ErrTaken {
				r.lock(r.locker(), key)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			hang := time.AfterFunc(time.Duration(1-i)*60*time.Millisecond, func() { r.setAll(faulty.Hang()) })
			defer hang.Stop()
			_, err := l.Lock(ctx, key)
			if !errors.Is(err, want) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want %v and DeadlineExceeded", key, err, want)
			}
		}
	})
}

// Every method that takes a key rejects a key that is used next to another lock, or that is a
// marker, before any I/O. The error says what the key is used for. The check applies to the key
// on the servers, with the prefix.
func TestKeysOfOtherLocks(t *testing.T) {
	const queue, counter, tombstone = "keeps its queue there", "keeps its fencing counter there", "keeps its tombstones there"
	for _, tc := range []struct{ prefix, key, want string }{
		{"", "x{x}:queue", `the lock "x" ` + queue},
		{"", "x{x}:fence", `the lock "x" ` + counter},
		{"", "x{x}:gone:2ABC", `the lock "x" ` + tombstone},
		{"", "a{t}b:queue", `the lock "a{t}b" ` + queue},
		{"", "x{x}", `it has the same queue and fencing counter as the lock "x"`},
		{"", "redlock:marker", "markers (WithQuarantine)"},
		{"", "app:redlock:marker", "markers (WithQuarantine)"}, // with that prefix of a Locker
		{"app:", "redlock:marker", "markers (WithQuarantine)"},
		{"redlock:", "marker", "markers (WithQuarantine)"},
		{"app:", "x{app:x}:queue", `the lock "app:x" ` + queue},
		{"app:", "x{x}:fence", `the lock "app:x{x}" ` + counter},
		{"app:", "x{app:x}", `the lock "app:x"`},
		{"{app}:", "jobs:queue", `the lock "{app}:jobs" ` + queue},
		{"{app}:", "jobs:gone:1", `the lock "{app}:jobs" ` + tombstone},
		{"x{x}:", "queue", `the lock "x" ` + queue},

		{"", "x:queue", ""}, {"", "x:fence", ""}, {"", "x:gone:y", ""}, {"", ":queue", ""}, {"", "{x}", ""}, {"", "x{y}", ""},
		{"", "a{t}:queues", ""}, {"", "redlock:markers", ""}, {"", "redlock:inbox:x", ""}, {"", "a}b:queue", ""},
		{"app:", "x{x}", ""}, {"app:", "jobs:queue", ""}, {"{app}:", "jobs", ""},
		{"", "my-global-mutex", ""}, {"", "lock:{orders}:42", ""}, // as used by redsync and redis-lock-py
	} {
		t.Run(tc.prefix+tc.key, func(t *testing.T) {
			onRig(t, 3, false, func(t *testing.T, r *rig) {
				l := r.locker(WithKeyPrefix(tc.prefix), WithReentrancy())
				ctx, token := t.Context(), "2DWKDFITKAYRZDPJYGTCT5VZ6E"
				calls := map[string]func() error{
					"Lock":        func() error { _, err := l.Lock(ctx, tc.key); return err },
					"Lock fenced": func() error { _, err := l.Lock(ctx, tc.key, WithFencing()); return err },
					"TryLock":     func() error { _, err := l.TryLock(ctx, tc.key); return err },
					"Do":          func() error { return l.Do(ctx, tc.key, func(context.Context) error { return nil }) },
					"Mutex.Lock":  func() error { return l.Mutex(tc.key).Lock(ctx) },
					"Mutex.TryLock": func() error {
						return l.Mutex(tc.key).TryLock(ctx)
					},
					"Resume":  func() error { _, err := l.Resume(ctx, NewHandover(tc.prefix+tc.key, token, 0)); return err },
					"Release": func() error { return l.Release(ctx, NewHandover(tc.prefix+tc.key, token, 0)) },
					"Inspect": func() error { _, err := l.Inspect(ctx, tc.key); return err },
				}
				if tc.want == "" {
					if err := calls["Do"](); err != nil {
						t.Errorf("Do: %v", err)
					}
					if err := calls["Inspect"](); err != nil {
						t.Errorf("Inspect: %v", err)
					}
					return
				}
				for name, call := range calls {
					r.quiet(name, func() {
						err := call()
						full := strconv.Quote(tc.prefix + tc.key)
						if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), full) ||
							!strings.Contains(err.Error(), "choose another key") {
							t.Errorf("%s: %v, want an error that names %s, %q, and what to do", name, err, full, tc.want)
						}
					})
				}
			})
		})
	}
}
