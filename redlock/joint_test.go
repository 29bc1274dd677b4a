package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// lockAll locks keys, which must be free.
func (r *rig) lockAll(l *Locker, keys []string, opts ...LockOption) *Locks {
	r.t.Helper()
	locks, err := l.TryLockAll(r.t.Context(), keys, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return locks
}

// some fails the test unless a quorum holds each of the keys of taken, and no node any of free.
func (r *rig) some(when string, taken, free []string) {
	r.t.Helper()
	synctest.Wait()
	for _, key := range taken {
		if n := r.holders(key, ""); n < r.need() {
			r.t.Errorf("%s: %d nodes hold %s, want a quorum", when, n, key)
		}
	}
	for _, key := range free {
		if n := r.holders(key, ""); n != 0 {
			r.t.Errorf("%s: %d nodes hold %s, want none", when, n, key)
		}
	}
}

// deletes deletes key on all nodes, whoever holds it.
func (r *rig) deletes(key string) {
	r.t.Helper()
	for _, m := range r.mem {
		e, _ := m.Inspect(r.t.Context(), key)
		if _, err := m.EvalDelete(r.t.Context(), key, e.Value); err != nil {
			r.t.Fatal(err)
		}
	}
}

// waiting starts a LockAll, waits until it can only wait, and returns a function that waits for
// its end.
func (r *rig) waiting(l *Locker, ctx context.Context, keys []string, opts ...LockOption) func() (*Locks, error) {
	var locks *Locks
	var err error
	var done sync.WaitGroup
	done.Go(func() { locks, err = l.LockAll(ctx, keys, opts...) })
	time.Sleep(time.Second)
	return func() (*Locks, error) { done.Wait(); return locks, err }
}

// LockAll holds every key once, whatever their order, until Unlock, which leaves nothing.
func TestLockAll(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithKeyPrefix("app:"))
		start := time.Now()
		locks, err := l.LockAll(t.Context(), []string{"c", "a", "b", "a", "c"})
		if err != nil {
			t.Fatal(err)
		}
		if keys := locks.Keys(); !slices.Equal(keys, []string{"a", "b", "c"}) {
			t.Errorf("keys %q", keys)
		}
		r.some("held", []string{"app:a", "app:b", "app:c"}, nil)
		if until := locks.Until(); !until.Equal(start.Add(DefaultTTL - 102*time.Millisecond)) {
			t.Errorf("held until %v after the start", until.Sub(start))
		}
		ctx := locks.Context(t.Context())
		for _, key := range locks.Keys() {
			if n := locks.Report(key).Count(Granted); n < r.need() {
				t.Errorf("the report of %s counts %d nodes: %v", key, n, locks.Report(key))
			}
			_, err := l.TryLock(t.Context(), key)
			matches(t, err, ErrTaken)
		}
		if locks.Report("x") != nil || locks.Fence("x") != 0 || locks.Handover("x").Key() != "" {
			t.Error("it has something for a key that is not locked")
		}
		time.Sleep(time.Second)
		if err := locks.Extend(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(locks.Until()); left < 59*time.Second {
			t.Errorf("%v are left after Extend", left)
		}
		if ctx.Err() != nil || locks.Err() != nil {
			t.Errorf("it ended: %v, %v", context.Cause(ctx), locks.Err())
		}
		if err := locks.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if context.Cause(ctx) != ErrReleased || locks.Err() != ErrReleased {
			t.Errorf("after Unlock: %v, %v", context.Cause(ctx), locks.Err())
		}
		if err := locks.Unlock(t.Context()); err != nil {
			t.Errorf("a second Unlock: %v", err)
		}
		matches(t, locks.Extend(t.Context(), time.Minute), ErrNotHeld)
		r.clean(l)
	})
}

// A caller that waits keeps the keys before the one for which it waits, and no other. It extends
// them for as long as it takes, and in the end all keys are fresh.
func TestLockAllKeepsOnlyKeysBefore(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		other := r.locker(WithAutoExtend())
		b, d := r.lock(other, "b"), r.lock(other, "d")
		l := r.locker()
		wait := r.waiting(l, t.Context(), []string{"e", "d", "c", "b", "a"})
		r.some("while it waits for b", []string{"a", "b", "d"}, []string{"c", "e"})
		for range 8 { // much longer than the TTL
			time.Sleep(5 * time.Second)
			r.some("while it waits for b", []string{"a", "b", "d"}, []string{"c", "e"})
		}
		r.unlocks(b)
		time.Sleep(time.Second)
		r.some("while it waits for d", []string{"a", "b", "c", "d"}, []string{"e"})
		time.Sleep(25 * time.Second)
		r.some("while it waits for d", []string{"a", "b", "c", "d"}, []string{"e"})
		r.unlocks(d)
		locks, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		r.some("held", locks.Keys(), nil)
		if left := time.Until(locks.Until()); left < DefaultTTL*9/10-102*time.Millisecond {
			t.Errorf("%v are left", left)
		}
		time.Sleep(DefaultTTL) // without automatic extensions they end
		if locks.Err() == nil {
			t.Error("the locks extend themselves, without the option")
		}
		r.some("after the end", nil, locks.Keys())
		matches(t, locks.Unlock(t.Context()), ErrNotHeld)
		r.clean(l)
		r.clean(other)
	})
}

// Callers with the same keys in different orders, and one for each key, get them one after the
// other.
func TestLockAllInAnyOrder(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var all sync.WaitGroup
		var mu sync.Mutex
		turns := 0
		for i := range 6 {
			l := r.locker()
			keys := []string{"a", "b", "c"}
			if i%2 == 1 {
				slices.Reverse(keys)
			}
			all.Go(func() {
				err := l.DoAll(t.Context(), keys, func(context.Context) error {
					if !mu.TryLock() {
						t.Error("two callers at a time")
						return nil
					}
					defer mu.Unlock()
					turns++
					time.Sleep(time.Second)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if turns != 6 {
			t.Errorf("%d turns, want 6", turns)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		r.empty()
	})
}

// TryLockAll locks nothing if one key is taken, and names that one.
func TestTryLockAllTaken(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		other, l := r.locker(), r.locker()
		r.lock(other, "c")
		r.lock(other, "d")
		start := time.Now()
		_, err := l.TryLockAll(t.Context(), []string{"a", "d", "c", "b"})
		matches(t, err, ErrTaken)
		took(t, start, 0, 0)
		if e := (*QuorumError)(nil); !errors.As(err, &e) || e.Key != "c" || e.Tries != 1 {
			t.Errorf("%v, want one for the key c", err)
		}
		r.some("afterwards", []string{"c", "d"}, []string{"a", "b"})
		ran := false
		matches(t, l.TryDoAll(t.Context(), []string{"b", "c"}, func(context.Context) error { ran = true; return nil }), ErrTaken)
		if ran {
			t.Error("the function ran")
		}
		_, err = l.LockAll(t.Context(), []string{"b", "c"}, WithWait(0))
		matches(t, err, ErrTaken)
		took(t, start, 0, 0)
		time.Sleep(time.Minute)
		r.clean(l)
	})
}

// A call that gives up, for whatever reason, leaves nothing, and its error says why and for which
// key.
func TestLockAllGivesUp(t *testing.T) {
	mine := errors.New("mine")
	for name, tt := range map[string]struct {
		opts  []LockOption
		end   func(cancel context.CancelCauseFunc, l *Locker, t *testing.T)
		wants []error
	}{
		"cancelled": {nil, func(cancel context.CancelCauseFunc, _ *Locker, _ *testing.T) { cancel(mine) }, []error{ErrTaken, context.Canceled, mine}},
		"WithWait":  {[]LockOption{WithWait(30 * time.Second)}, func(context.CancelCauseFunc, *Locker, *testing.T) {}, []error{ErrTaken}},
		"WithRetry": {[]LockOption{WithRetry(Fixed(time.Second).Limit(20))}, func(context.CancelCauseFunc, *Locker, *testing.T) {}, []error{ErrTaken}},
		"closed": {nil, func(_ context.CancelCauseFunc, l *Locker, t *testing.T) {
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}, []error{ErrClosed}},
		"shut down": {nil, func(_ context.CancelCauseFunc, l *Locker, t *testing.T) {
			if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}, []error{ErrClosed}},
	} {
		t.Run(name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				other := r.locker(WithAutoExtend())
				b := r.lock(other, "b")
				l := r.locker()
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				wait := r.waiting(l, ctx, []string{"a", "b", "c"}, tt.opts...)
				r.some("while it waits", []string{"a", "b"}, []string{"c"})
				time.Sleep(10 * time.Second)
				tt.end(cancel, l, t)
				locks, err := wait()
				if locks != nil || err == nil {
					t.Fatalf("%v, %v", locks, err)
				}
				matches(t, err, tt.wants...)
				if e := (*QuorumError)(nil); errors.As(err, &e) && e.Key != "b" {
					t.Errorf("%v, want one for the key b", err)
				}
				r.some("afterwards", []string{"b"}, []string{"a", "c"})
				r.unlocks(b)
				if err := other.Close(t.Context()); err != nil {
					t.Error(err)
				}
				r.clean(l)
			})
		})
	}
}

// A key that is lost while the call waits for a later one is acquired again. Keys behind it are
// given back first.
func TestLockAllAcquiresALostKeyAgain(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		other, l := r.locker(WithAutoExtend()), r.locker(WithLogger(log.logger()))
		d := r.lock(other, "d")
		wait := r.waiting(l, t.Context(), []string{"a", "b", "c", "d"})
		r.some("while it waits for d", []string{"a", "b", "c", "d"}, nil)
		r.deletes("b")
		thief := r.lock(other, "b")
		time.Sleep(5 * time.Second) // until the next extension
		r.some("while it waits for b", []string{"a", "b", "d"}, []string{"c"})
		if !strings.Contains(log.String(), "acquired again") || !strings.Contains(log.String(), `level=WARN msg="redlock: a key was lost`) {
			t.Errorf("the log does not say so:\n%s", &log)
		}
		r.unlocks(thief)
		time.Sleep(time.Second)
		r.some("while it waits for d again", []string{"a", "b", "c", "d"}, nil)
		r.unlocks(d)
		locks, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		r.some("held", locks.Keys(), nil)
		if err := locks.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// If one key is lost, the context of all ends with a cause that names it, and Unlock says so but
// releases the others.
func TestLocksContextEndsWithTheFirstLoss(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithAutoExtend())
		locks := r.lockAll(l, []string{"a", "b", "c"})
		ctx := locks.Context(t.Context())
		time.Sleep(time.Minute)
		if ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		r.deletes("b")
		<-ctx.Done()
		cause := context.Cause(ctx)
		matches(t, cause, ErrNotHeld)
		if !strings.Contains(cause.Error(), `"b"`) || locks.Err() != cause {
			t.Errorf("cause %v, Err %v", cause, locks.Err())
		}
		r.some("before Unlock", []string{"a", "c"}, nil)
		err := locks.Unlock(t.Context())
		matches(t, err, ErrNotHeld)
		r.clean(l)

		l = r.locker()
		err = l.DoAll(t.Context(), []string{"a", "b"}, func(ctx context.Context) error {
			r.deletes("b")
			<-ctx.Done()
			return ctx.Err()
		})
		matches(t, err, ErrNotHeld, context.Canceled)
		r.clean(l)
	})
}

// Err of a context checks the clock of each lock, also after a suspend of the machine.
func TestLocksContextAfterASuspend(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		advance := suspend(l)
		first := r.lockAll(l, []string{"a", "b"}, WithTTL(time.Minute))
		ctx := first.Context(t.Context())
		if err := first.locks[1].Extend(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		advance(2 * time.Minute)
		if ctx.Err() == nil {
			t.Error("the context has not ended, although a has")
		}
		matches(t, context.Cause(ctx), ErrNotHeld)
		_ = first.Unlock(t.Context())
		r.clean(l)
	})
}

// Bad input fails before any I/O.
func TestLockAllRejects(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		many := make([]string, mostKeys+1)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		r.quiet("bad input", func() {
			for name, tt := range map[string]struct {
				l    *Locker
				ctx  context.Context
				keys []string
				opts []LockOption
				want string
			}{
				"no keys":       {l, t.Context(), nil, nil, "no keys"},
				"too many":      {l, t.Context(), many, nil, "129 keys: must be at most 128"},
				"an empty key":  {l, t.Context(), []string{"a", ""}, nil, "an empty key"},
				"a bad key":     {l, t.Context(), []string{"a", "x{x}:queue"}, nil, "choose another key"},
				"a bad option":  {l, t.Context(), []string{"a"}, []LockOption{WithTTL(0)}, "a TTL of 0s"},
				"a nil option":  {l, t.Context(), []string{"a"}, []LockOption{nil}, "an option that is nil"},
				"an ended ctx":  {l, ended, []string{"a", "b"}, nil, "has ended already"},
				"a zero Locker": {new(Locker), t.Context(), []string{"a"}, nil, errZero.Error()},
			} {
				for call, f := range map[string]func() error{
					"LockAll":    func() error { _, err := tt.l.LockAll(tt.ctx, tt.keys, tt.opts...); return err },
					"TryLockAll": func() error { _, err := tt.l.TryLockAll(tt.ctx, tt.keys, tt.opts...); return err },
					"DoAll": func() error {
						return tt.l.DoAll(tt.ctx, tt.keys, func(context.Context) error { return nil }, tt.opts...)
					},
				} {
					if err := f(); err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("%s: %s: %v, want %q", call, name, err, tt.want)
					}
				}
			}
			if err := l.DoAll(t.Context(), []string{"a"}, nil); err == nil {
				t.Error("DoAll accepts a function that is nil")
			}
			if _, err := l.TryLockAll(t.Context(), []string{"a"}, WithWait(time.Second)); err == nil {
				t.Error("TryLockAll accepts a wait")
			}
		})
		same := slices.Repeat([]string{"a", "b"}, mostKeys)
		if err := r.lockAll(l, same).Unlock(t.Context()); err != nil { // repetitions do not count
			t.Error(err)
		}
		r.clean(l)
		_, err := l.LockAll(t.Context(), []string{"a"})
		matches(t, err, ErrClosed)
	})
}

// k free keys take as long as one, and one command for each key on each node, whatever the
// number of keys.
func TestLockAllCost(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			onRig(t, size, false, func(t *testing.T, r *rig) {
				const trip = 20 * time.Millisecond
				l := r.locker()
				r.lock(l, "warm").Unlock(t.Context()) // the nodes have shown that they can release
				synctest.Wait()                       // each of them
				r.setAll(faulty.Delay(trip))
				for _, n := range []int{1, 2, 8, 64} { // releases of more keys take turns
					keys := make([]string, n)
					for i := range keys {
						keys[i] = fmt.Sprint("k", i)
					}
					before, start := r.counts(), time.Now()
					locks, err := l.LockAll(t.Context(), keys)
					if err != nil {
						t.Fatal(err)
					}
					took(t, start, trip, trip)
					time.Sleep(time.Second)
					r.spent(before, n, fmt.Sprintf("LockAll of %d keys", n))
					before = r.counts()
					if err := locks.Unlock(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					r.spent(before, n, fmt.Sprintf("Unlock of %d keys", n))
				}
				r.clean(l)
			})
		})
	}
}

// counts returns the number of calls and of operations on each node so far.
func (r *rig) counts() (n [][2]int) {
	for _, f := range r.fault {
		calls := f.Calls()
		ops := 0
		for _, c := range calls {
			ops += len(c.Ops)
		}
		n = append(n, [2]int{len(calls), ops})
	}
	return n
}

// spent fails the test unless each node has had one call with that many operations since before.
func (r *rig) spent(before [][2]int, ops int, what string) {
	r.t.Helper()
	for i, now := range r.counts() {
		if calls, n := now[0]-before[i][0], now[1]-before[i][1]; calls != 1 || n != ops {
			r.t.Errorf("%s: node %d had %d calls with %d operations, want one with %d", what, i, calls, n, ops)
		}
	}
}
