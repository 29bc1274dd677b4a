package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// counterOf is the key of the counter for a lock without braces.
func counterOf(key string) string { return fmt.Sprintf("%s{%s}:fence", key, key) }

// fencingRig runs f in virtual time on 1, 3 and 5 nodes that run scripts.
func fencingRig(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	for _, size := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) { onRig(t, size, false, f) })
	}
}

// Each lock has a higher token than the lock before it, and keeps it. A lock without fencing has
// none.
func TestFencing(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		for _, l := range []*Locker{r.locker(WithFencing()), r.locker()} {
			last := uint64(0)
			for i := range 5 {
				lock := r.lock(l, "k", WithFencing())
				fence := lock.Fence()
				if fence <= last {
					t.Errorf("lock %d has the token %d after %d", i, fence, last)
				}
				if err := lock.Extend(t.Context(), time.Minute); err != nil {
					t.Fatal(err)
				}
				if lock.Fence() != fence {
					t.Errorf("after an extension, the token is %d, before it was %d", lock.Fence(), fence)
				}
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
				if lock.Fence() != fence {
					t.Errorf("after Unlock, the token is %d, before it was %d", lock.Fence(), fence)
				}
				last = fence
				synctest.Wait()
			}
		}
		if lock := r.lock(r.locker(), "other"); lock.Fence() != 0 {
			t.Errorf("a lock without fencing has the token %d", lock.Fence())
		}
	})
}

// A waiter gets a higher token than the lock it waited for, even if that lock expired without its
// holder knowing.
func TestFencingWaiting(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		stale := r.lock(r.locker(WithFencing()), "k")
		l := r.locker(WithFencing(), WithAutoExtend())
		last := stale.Fence()
		for range 3 {
			lock, err := l.Lock(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			if lock.Fence() <= last {
				t.Errorf("the token %d follows %d", lock.Fence(), last)
			}
			last = lock.Fence()
			time.Sleep(2 * DefaultTTL)
			if err := lock.Err(); err != nil || lock.Fence() != last {
				t.Errorf("after some extensions: %v, and the token is %d, before it was %d", err, lock.Fence(), last)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The time of a second round counts against the validity, which begins before the first round.
func TestFencingValidity(t *testing.T) {
	const slow = 200 * time.Millisecond
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		for i, ahead := range []string{"1", "2", "3"} { // minutes
			counter := fmt.Sprint(time.Now().UnixMicro() + int64(ahead[0]-'0')*60_000_000)
			r.mem[i].Set(counterOf("k"), counter, time.Hour)
		}
		r.setAll(faulty.DelayReply(slow))
		start := time.Now()
		lock := r.lock(l, "k", WithFencing())
		took(t, start, 2*slow, 2*slow)
		if want := start.Add(DefaultTTL - l.settings.DriftOf(DefaultTTL)); !lock.Until().Equal(want) {
			t.Errorf("the lock is valid until %v, want %v", lock.Until(), want)
		}
		raised := r.arrived(func(op backend.Op) bool { return op.Script == lua.Raise })
		if raised == 0 {
			t.Error("there was no second round")
		}
	})
}

// A Locker with a wrong clock learns what the nodes' clocks say.
func TestFencingWithAWrongClock(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithFencing())
		set := suspend(l)
		set(-10 * time.Second)
		for i := range r.fault {
			r.fault[i].Set(faulty.Delay(time.Millisecond + time.Duration(i)*10*time.Microsecond))
		}
		for i := range 4 {
			lock := r.lock(l, "k")
			time.Sleep(time.Second)
			lock.Unlock(t.Context())
			time.Sleep(time.Second)
			raised := r.arrived(func(op backend.Op) bool { return op.Script == lua.Raise })
			if (raised > 0) != (i == 0) {
				t.Errorf("lock %d needed %d second rounds", i, raised)
			}
			for _, f := range r.fault {
				f.Forget()
			}
		}
	})
}

// A resumed handle has the token that was handed over, and keeps the counters alive as the first
// handle did. If no token was handed over, it has none, and the counters expire. It extends the
// lock in both cases.
func TestFencingResume(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		const life = 2 * time.Minute
		l := r.locker(WithFencing(), WithCounterLife(life))
		held := r.lock(l, "k")
		synctest.Wait() // until every node has answered
		counters := func(want string) {
			t.Helper()
			synctest.Wait()
			for i, m := range r.mem {
				if e, _ := m.Inspect(t.Context(), counterOf("k")); e.Value != want {
					t.Errorf("the counter on node %d is %q, want %q", i, e.Value, want)
				}
			}
		}
		fence := fmt.Sprint(held.Fence())

		lock, err := l.Resume(t.Context(), held.Handover(), WithTTL(time.Minute), WithAutoExtend())
		if err != nil {
			t.Fatal(err)
		}
		if lock.Fence() != held.Fence() || FenceFromContext(lock.Context(t.Context())) != held.Fence() {
			t.Errorf("the token is %d, that of the lock is %d", lock.Fence(), held.Fence())
		}
		time.Sleep(10 * life)
		counters(fence)
		for _, m := range r.mem {
			m.Set(counterOf("k"), "7", time.Hour) // a lost counter that begins again
		}
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		counters(fence)
		nested, err := l.Lock(lock.Context(t.Context()), "k", WithReentrancy(), WithFencing())
		if err != nil || nested.Fence() != held.Fence() {
			t.Fatalf("nested in it: %v", err)
		}
		r.unlocks(nested)

		plain, err := r.locker(WithCounterLife(life)).Resume(t.Context(), NewHandover("k", lock.Token(), 0), WithTTL(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if plain.Fence() != 0 {
			t.Errorf("the token is %d, but none was handed over", plain.Fence())
		}
		if err := plain.Extend(t.Context(), 2*time.Hour); err != nil {
			t.Error(err)
		}
		lock.lease.End(ErrReleased) // another handle has it now
		time.Sleep(life)
		counters("")
		r.unlocks(plain)
	})
}

// Somebody has made a counter unusable while the lock is held. If the other nodes are enough,
// this costs nothing, not even the place in the queue. If they are not, nobody can get the lock
// until the counter is repaired. Lock reports that at once instead of after the wait, with the
// name of the counter. (TryLock may report that the key is taken, depending on the first
// answers.)
func TestFencingBrokenCounter(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithFencing())
		held := r.lock(l, "k")
		synctest.Wait()
		for _, m := range r.mem[:r.minority()] {
			m.Set(counterOf("k"), "rubbish", time.Hour)
		}
		_, err := l.TryLock(t.Context(), "k")
		matches(t, err, ErrTaken)
		differs(t, err, ErrUnavailable)
		var freed time.Time
		time.AfterFunc(100*time.Millisecond, func() { // while the waiter sleeps
			freed = time.Now()
			r.unlocks(held)
		})
		next, err := r.locker(WithFencing()).Lock(t.Context(), "k")
		if err != nil || next.Fence() <= held.Fence() {
			t.Fatalf("%v, with the token %d after %d", err, next.Fence(), held.Fence())
		}
		took(t, freed, 0, 10*time.Millisecond)

		r.mem[r.minority()].Set(counterOf("k"), "rubbish", time.Hour)
		start := time.Now()
		_, err = l.Lock(t.Context(), "k")
		took(t, start, 0, 0)
		matches(t, err, ErrUnavailable)
		differs(t, err, ErrTaken)
		if want := fmt.Sprintf("FENCE the counter %q holds no number", counterOf("k")); !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not contain %q", err, want)
		}
		if err := next.Extend(t.Context(), time.Minute); err != nil {
			t.Errorf("the holder's extension: %v", err)
		}
		r.unlocks(next)
	})
}

// A counter lives for a day after its last use, or for as long as an option says.
func TestCounterLife(t *testing.T) {
	for _, tc := range []struct {
		opts []Option
		life time.Duration // backend.NoExpiry: forever
	}{
		{nil, 24 * time.Hour},
		{[]Option{WithCounterLife(0)}, backend.NoExpiry},
		{[]Option{WithCounterLife(70 * time.Second)}, 70 * time.Second},
	} {
		fencingRig(t, func(t *testing.T, r *rig) {
			lock := r.lock(r.locker(append(tc.opts, WithFencing())...), "k")
			synctest.Wait()
			look := func(what string) {
				t.Helper()
				for i, m := range r.mem {
					if e, _ := m.Inspect(t.Context(), counterOf("k")); !e.Found || e.TTL != tc.life {
						t.Errorf("%s: the counter on node %d: %+v, want it to live for %v", what, i, e, tc.life)
					}
				}
			}
			look("locked")
			time.Sleep(5 * time.Second)
			if err := lock.Extend(t.Context(), DefaultTTL); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			look("extended")
			lock.Unlock(t.Context())
		})
	}
}

// A lock that cannot have a token is rejected before any I/O, with the reason.
func TestFencingRejects(t *testing.T) { synctest.Test(t, fencingRejects) }

func fencingRejects(t *testing.T) {
	bare, r := newRig(t, 3, true), newRig(t, 3, false)
	some := append(append([]backend.Node{}, r.nodes[:2]...), struct {
		backend.Node
		backend.Namer
	}{bare.nodes[2], bare.fault[2]})
	_, newErr := New(some, WithFencing())
	plain, err := New(some)
	if err != nil {
		t.Fatal(err)
	}
	tryLock := func(l *Locker, key string, opts ...LockOption) error {
		_, err := l.TryLock(t.Context(), key, opts...)
		return err
	}
	resume := func(l *Locker, key string, fence uint64, opts ...ResumeOption) error {
		_, err := l.Resume(t.Context(), NewHandover(key, "token", fence), opts...)
		return err
	}
	short := r.locker(WithCounterLife(70*time.Second), WithTTL(time.Hour))
	held := r.lock(short, "held", WithTTL(time.Second), WithFencing())
	noFence := r.lock(short, "no fence")
	if err := noFence.Extend(t.Context(), time.Hour); err != nil {
		t.Errorf("an extension of a lock without a token: %v", err)
	}
	synctest.Wait() // until the third node has answered, too
	for _, f := range r.fault {
		f.Forget()
	}
	_, lifeErr := New(r.nodes, WithCounterLife(time.Second))
	_, negativeErr := New(r.nodes, WithCounterLife(-1))
	_, ttlErr := New(r.nodes, WithCounterLife(time.Hour), WithTTL(time.Hour), WithFencing())
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"New on a node without scripts", newErr, "redlock: no fencing token: c does not run scripts"},
		{"a call on one", tryLock(plain, "k", WithFencing()), `redlock: lock "k": no fencing token: c does not run scripts`},
		{"Do on one", plain.Do(t.Context(), "k", func(context.Context) error { return nil }, WithFencing()), "no fencing token: c does not run scripts"},
		{"Mutex on one", plain.Mutex("k", WithFencing()).Lock(t.Context()), `redlock: lock "k": no fencing token: c does not run scripts`},
		{"a key without a counter", tryLock(r.locker(WithFencing()), "a}b"), `redlock: lock "a}b": no fencing token: a key with braces but no hash tag`},
		{"a short life", lifeErr, "redlock: a counter life of 1s: must be 0, for ever, or longer than the TTL by 1m0s"},
		{"a negative life", negativeErr, "redlock: a counter life of -1ns"},
		{"a TTL that is too long", ttlErr, "redlock: a TTL of 1h0m0s with fencing: counters live for 1h0m0s, and must live longer than that by 1m0s"},
		{"a call with one", tryLock(short, "k", WithFencing()), `redlock: lock "k": a TTL of 1h0m0s with fencing`},
		{"a token that no counter reaches", resume(short, "held", 1<<53), `redlock: resume "held": a fencing token of 9007199254740992: must be`},
		{"a resumption on one", resume(plain, "k", 1), `redlock: resume "k": no fencing token: c does not run scripts`},
		{"a resumption without a counter", resume(r.locker(), "a}b", 1), `redlock: resume "a}b": no fencing token: a key with braces but no hash tag`},
		{"a resumption with a TTL that is too long", resume(short, "held", 1), `redlock: resume "held": a TTL of 1h0m0s with fencing`},
		{"a nil option", resume(short, "held", 0, nil), `redlock: resume "held": an option that is nil`},
		{"an extension with one", held.Extend(t.Context(), 11*time.Second), `redlock: extend "held": a TTL of 11s with fencing`},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, tc.err, tc.want)
			continue
		}
		if strings.Contains(tc.want, "scripts") && !errors.Is(tc.err, errors.ErrUnsupported) {
			t.Errorf("%s: %v does not match errors.ErrUnsupported", tc.name, tc.err)
		}
	}
	if n := r.calls() + bare.calls(); n > 0 {
		t.Errorf("rejected calls made %d calls of nodes", n)
	}
}

// A context carries the token of its innermost lock that has one, even after the lock has ended.
func TestFenceFromContext(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		if got := FenceFromContext(t.Context()); got != 0 {
			t.Errorf("without a lock: %d", got)
		}
		outer := r.lock(l, "outer", WithFencing())
		ctx := outer.Context(t.Context())
		time.Sleep(time.Millisecond) // otherwise both counters may begin at the same time
		var inner context.Context
		for _, opts := range [][]LockOption{nil, {WithFencing()}} {
			err := l.Do(ctx, "inner", func(ctx context.Context) error {
				inner = ctx
				got := FenceFromContext(context.WithoutCancel(ctx))
				if got == 0 || (got == outer.Fence()) != (opts == nil) {
					t.Errorf("in a lock with %d options: the token is %d, that of the outer lock is %d", len(opts), got, outer.Fence())
				}
				return nil
			}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := FenceFromContext(inner); got == 0 || got == outer.Fence() {
			t.Errorf("after the end of the inner lock: %d", got)
		}
		if err := outer.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
