package redlock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// taken fails the test unless key is held now.
func (r *rig) taken(key, when string) {
	r.t.Helper()
	synctest.Wait()
	if _, err := r.locker().TryLock(r.t.Context(), key); !errors.Is(err, ErrTaken) {
		r.t.Fatalf("%s: %v, want ErrTaken", when, err)
	}
}

// isFree fails the test unless no node holds key.
func (r *rig) isFree(key, when string) {
	r.t.Helper()
	synctest.Wait()
	if n := r.holders(key, ""); n != 0 {
		r.t.Fatalf("%s: %d nodes hold the lock, want none", when, n)
	}
}

// minHoldOptions are options of locks with a minimum hold of 5 s that would end at different
// times without it.
var minHoldOptions = map[string][]LockOption{
	"a longer TTL":      {WithTTL(20 * time.Second)},
	"a shorter TTL":     {WithTTL(2 * time.Second)},
	"automatic":         {WithTTL(2 * time.Second), WithAutoExtend()},
	"automatic, longer": {WithTTL(20 * time.Second), WithAutoExtend()},
}

// A lock that is unlocked early stays taken until its minimum hold is over. Then the next waiter
// gets it at once.
func TestMinHoldOutlastsUnlock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for name, opts := range minHoldOptions {
			var h told
			l := r.locker(WithHooks(h.hooks()), WithMinHold(5*time.Second))
			start := time.Now()
			lock := r.lock(l, "k", opts...)
			ctx := lock.Context(t.Context())
			time.Sleep(time.Second)
			r.quiet("Unlock", func() {
				if err := lock.Unlock(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			if context.Cause(ctx) != ErrReleased || lock.Err() != ErrReleased {
				t.Errorf("%s: cause %v, Err %v", name, context.Cause(ctx), lock.Err())
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("%s: a second Unlock: %v", name, err)
			}
			matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
			kinds, events := h.take()
			if n := len(kinds) - 1; n < 1 || kinds[n] != "unlocked" || events[n].Held != time.Second || events[n].Err != nil {
				t.Errorf("%s: hooks %v, %+v", name, kinds, events)
			}
			_, err := l.TryLock(t.Context(), "k") // not even for the same Locker
			matches(t, err, ErrTaken)
			waiter := make(chan *Lock)
			go func() {
				lock, err := r.locker().Lock(t.Context(), "k")
				if err != nil {
					t.Error(err)
				}
				waiter <- lock
			}()
			time.Sleep(time.Until(start.Add(5*time.Second - time.Millisecond)))
			r.taken("k", name+", just before")
			next := <-waiter
			within := 20 * time.Millisecond
			if r.bare {
				within = 260 * time.Millisecond // a caller that polls
			}
			took(t, start, 5*time.Second, 5*time.Second+within)
			_ = next.Unlock(t.Context())
			r.isFree("k", name)
		}
	})
}

// If the process ends, its lock stays for the minimum hold, and not much longer than without one.
func TestMinHoldOutlastsACrash(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for name, tt := range map[string]struct {
			opts     []LockOption
			unlocked bool
			most     time.Duration
		}{
			"a longer TTL":           {[]LockOption{WithTTL(20 * time.Second)}, false, 20 * time.Second},
			"a shorter TTL":          {[]LockOption{WithTTL(2 * time.Second)}, false, 5100 * time.Millisecond},
			"automatic":              {[]LockOption{WithTTL(2 * time.Second), WithAutoExtend()}, false, 6100 * time.Millisecond},
			"unlocked":               {[]LockOption{WithTTL(2 * time.Second)}, true, 5100 * time.Millisecond},
			"unlocked, automatic":    {[]LockOption{WithTTL(2 * time.Second), WithAutoExtend()}, true, 6100 * time.Millisecond},
			"unlocked, a longer TTL": {[]LockOption{WithTTL(20 * time.Second)}, true, 20 * time.Second},
		} {
			l := r.locker(WithMinHold(5 * time.Second))
			start := time.Now()
			lock := r.lock(l, "k", tt.opts...)
			time.Sleep(4 * time.Second)
			if tt.unlocked {
				if err := lock.Unlock(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := l.Close(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if err := l.Shutdown(t.Context()); err != nil { // the process ends
				t.Errorf("%s: %v", name, err)
			}
			time.Sleep(time.Until(start.Add(5*time.Second + 10*time.Millisecond)))
			r.taken("k", name)
			time.Sleep(time.Until(start.Add(tt.most + time.Millisecond)))
			r.isFree("k", name)
		}
	})
}

// A lock that was held for longer than the minimum hold is released normally.
func TestMinHoldElapsed(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for name, opts := range minHoldOptions {
			l := r.locker(WithMinHold(5 * time.Second))
			err := l.Do(t.Context(), "k", func(ctx context.Context) error {
				time.Sleep(12 * time.Second)
				r.taken("k", name)
				return ctx.Err()
			}, opts...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			r.isFree("k", name)
			start := time.Now()
			_ = l.Do(t.Context(), "k", func(context.Context) error { return nil }, opts...)
			took(t, start, 0, 0)
			time.Sleep(5 * time.Second)
			r.isFree("k", name+", short")
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// Nodes that lose the lock, and get it back by an extension, hold it for as long as the others.
func TestMinHoldOnNodesThatRejoin(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(3*time.Second), WithMinHold(time.Minute))
		start := time.Now()
		lock := r.lock(l, "k", WithAutoExtend())
		for i := range r.mem {
			time.Sleep(3 * time.Second)
			r.mem[i].Flush()
		}
		time.Sleep(3 * time.Second)
		if n := r.holders("k", lock.Token()); n != 3 {
			t.Fatalf("%d nodes hold the lock again", n)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(start.Add(time.Minute - time.Millisecond)))
		if n := r.holders("k", lock.Token()); n != 3 {
			t.Errorf("%d nodes hold the lock just before the end of the minimum hold", n)
		}
		time.Sleep(2 * time.Millisecond)
		r.isFree("k", "afterwards")
	})
}

// The last handle that is unlocked keeps the lock for the minimum hold. A nested call with a
// longer minimum hold extends the lock that it enters.
func TestMinHoldOfHandles(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(2*time.Second), WithReentrancy())
		outer := r.lock(l, "k", WithMinHold(3*time.Second))
		inner, err := l.TryLock(outer.Context(t.Context()), "k")
		if err != nil {
			t.Fatal(err)
		}
		r.unlocks(outer)
		r.held(inner, "while a handle is left")
		r.unlocks(inner)
		time.Sleep(2900 * time.Millisecond)
		r.taken("k", "after both")
		time.Sleep(101 * time.Millisecond)
		r.isFree("k", "after 3 s")

		for _, opts := range [][]LockOption{nil, {WithAutoExtend()}} {
			start := time.Now()
			outer = r.lock(l, "k", opts...)
			ctx := outer.Context(t.Context())
			time.Sleep(time.Second)
			inner, err = l.TryLock(ctx, "k", WithMinHold(10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			again, err := l.TryLock(ctx, "k", WithMinHold(time.Second)) // a shorter minimum hold
			if err != nil {
				t.Fatal(err)
			}
			for _, lock := range []*Lock{again, inner, outer} {
				r.unlocks(lock)
			}
			time.Sleep(time.Until(start.Add(11*time.Second - time.Millisecond)))
			r.taken("k", "a nested minimum hold")
			time.Sleep(2 * time.Millisecond)
			r.isFree("k", "a nested minimum hold")
		}
	})
}

// Locks with a fencing token and resumed locks have a minimum hold, too. Failed calls leave
// nothing behind.
func TestMinHoldOfOtherCalls(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithMinHold(5 * time.Second))
		if !r.bare {
			first := r.lock(l, "fenced", WithFencing())
			r.unlocks(first)
			time.Sleep(4999 * time.Millisecond)
			r.taken("fenced", "with a token")
			next, err := l.Lock(t.Context(), "fenced", WithFencing())
			if err != nil || next.Fence() <= first.Fence() {
				t.Errorf("token %d after %d: %v", next.Fence(), first.Fence(), err)
			}
			r.unlocks(next)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			for _, m := range r.mem {
				m.Flush() // deletes the counters
			}
		}

		elsewhere := r.lock(r.locker(WithTTL(time.Minute)), "k")
		synctest.Wait() // Resume does not know of grants that are under way
		resumed, err := l.Resume(t.Context(), elsewhere.Handover())
		if err != nil {
			t.Fatal(err)
		}
		r.unlocks(resumed)
		time.Sleep(4999 * time.Millisecond)
		r.taken("k", "resumed")
		time.Sleep(2 * time.Millisecond)
		r.isFree("k", "resumed")

		lock := r.lock(l, "k")
		synctest.Wait() // nor does Release
		if err := l.Release(t.Context(), lock.Handover()); err != nil {
			t.Error(err)
		}
		r.isFree("k", "Release")

		held := r.lock(r.locker(), "k")
		_, err = l.Lock(t.Context(), "k", WithWait(time.Second))
		matches(t, err, ErrTaken)
		time.Sleep(time.Second) // otherwise its ticket gets a reservation
		r.unlocks(held)
		synctest.Wait()
		r.set(0, r.need(), faulty.Refuse(nil))
		_, err = l.TryLock(t.Context(), "k")
		matches(t, err, ErrUnavailable)
		r.clear()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.isFree("k", "after failures")
	})
}

// A lost lock is reported as lost, even by an Unlock that asks no node.
func TestMinHoldOfALostLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Second), WithMinHold(time.Minute))
		lock := r.lock(l, "k", WithAutoExtend())
		for _, m := range r.mem {
			m.Flush()
		}
		<-lock.Context(t.Context()).Done()
		matches(t, lock.Unlock(t.Context()), ErrNotHeld)
		err := l.Do(t.Context(), "d", func(ctx context.Context) error {
			for _, m := range r.mem {
				m.Flush()
			}
			<-ctx.Done()
			return nil
		})
		matches(t, err, ErrNotHeld)
		time.Sleep(time.Minute)
	})
}

// Options that do not fit a minimum hold are rejected.
func TestMinHoldIsChecked(t *testing.T) {
	r := newRig(t, 1, false)
	for _, opts := range [][]Option{
		{WithMinHold(0)},
		{WithMinHold(-1)},
		{WithMinHold(1 << 62)},
		{WithMinHold(time.Minute), WithMaxHold(50 * time.Second)},
		{WithMinHold(time.Minute), WithQuarantine(time.Minute)},
		{WithMinHold(time.Hour), WithFencing(), WithCounterLife(time.Hour)},
	} {
		if _, err := New(r.nodes, opts...); err == nil {
			t.Errorf("%d options were accepted", len(opts))
		}
	}
	r.locker(WithMinHold(time.Minute), WithMaxHold(time.Minute), WithQuarantine(2*time.Minute))
}
