package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// n callers of different processes have a permit, and no more.
func TestSemaphore(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		const n = 3
		var permits []*Lock
		slots := make(map[string]bool)
		for i := range n {
			permit, err := r.locker().Semaphore("k", n).TryAcquire(t.Context())
			if err != nil && !r.bare { // without scripts it may not find the last slot
				t.Fatalf("permit %d of %d: %v", i+1, n, err)
			}
			for r.bare && errors.Is(err, ErrTaken) {
				permit, err = r.locker().Semaphore("k", n).TryAcquire(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(permit.Key(), "k{k}:permits:") || slots[permit.Key()] {
				t.Errorf("the slot of a permit is %s, others have %v", permit.Key(), slots)
			}
			slots[permit.Key()] = true
			permits = append(permits, permit)
		}
		l := r.locker()
		s := l.Semaphore("k", n)
		_, err := s.TryAcquire(t.Context())
		matches(t, err, ErrTaken)
		if !strings.Contains(err.Error(), `acquire "k": `) {
			t.Errorf("error %q does not name the key", err)
		}
		if lock, err := l.TryLock(t.Context(), "k"); err != nil {
			t.Errorf("the lock on the key of the permits: %v", err)
		} else if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		got := make(chan *Lock)
		go func() {
			permit, err := s.Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- permit
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("a permit too many")
		default:
		}
		start := time.Now()
		if err := permits[1].Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		permit := <-got
		if !r.bare {
			took(t, start, 0, 2*time.Millisecond)
			if permit.Key() != permits[1].Key() {
				t.Errorf("the waiter has slot %s, want the one that was released, %s", permit.Key(), permits[1].Key())
			}
		}
		for _, p := range []*Lock{permit, permits[0], permits[2]} {
			if err := p.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		r.clean(l)
	})
}

// A free permit costs what a free lock costs, and the slot that was released last is tried
// first.
func TestSemaphoreRemembers(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		s := l.Semaphore("k", MaxPermits)
		calls := func(acquire func(context.Context) (*Lock, error)) (n int, key string) {
			before := r.calls()
			lock, err := acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // until the last node has answered too
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.calls() - before, lock.Key()
		}
		calls(s.TryAcquire) // the nodes show that they run scripts
		usual, _ := calls(func(ctx context.Context) (*Lock, error) { return l.Lock(ctx, "another") })
		_, slot := calls(s.Acquire)
		for range 5 {
			if n, key := calls(s.Acquire); n != usual || key != slot {
				t.Errorf("%d calls for %s, want %d and %s", n, key, usual, slot)
			}
		}
		r.clean(l)
	})
}

// The permits of a process are different, and waiters behind each other in one process all
// get theirs.
func TestSemaphoreInOneProcess(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		s := l.Semaphore("k", 4, WithAutoExtend())
		var (
			mu         sync.Mutex
			now, most  int
			everybody  sync.WaitGroup
			simulation = 12 * time.Second
		)
		for range 12 {
			everybody.Go(func() {
				err := s.Do(t.Context(), func(ctx context.Context) error {
					mu.Lock()
					now++
					most = max(most, now)
					mu.Unlock()
					time.Sleep(simulation / 12)
					mu.Lock()
					now--
					mu.Unlock()
					return ctx.Err()
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		start := time.Now()
		everybody.Wait()
		if most != 4 {
			t.Errorf("at most %d held a permit at the same time, want 4", most)
		}
		if !r.bare {
			took(t, start, simulation/4, simulation/4+100*time.Millisecond)
		}
		r.clean(l)
	})
}

// A permit has a token of its slot, a context, extensions and a handover.
func TestPermitIsALock(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithFencing(), WithTTL(time.Second))
		s := l.Semaphore("k", 1)
		last := uint64(0)
		for range 3 {
			permit, err := s.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if permit.Fence() <= last {
				t.Errorf("the token %d follows on %d", permit.Fence(), last)
			}
			last = permit.Fence()
			if err := permit.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		permit, err := s.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx := permit.Context(t.Context())
		if FenceFromContext(ctx) != permit.Fence() {
			t.Error("the context does not have the token")
		}
		time.Sleep(500 * time.Millisecond)
		if err := permit.Extend(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
		time.Sleep(700 * time.Millisecond)
		if ctx.Err() != nil {
			t.Error("the permit was extended, and is lost:", context.Cause(ctx))
		}

		// Another process takes it over, and its release notifies the waiter.
		other := r.locker(WithFencing())
		resumed, err := other.Resume(t.Context(), permit.Handover())
		if err != nil || resumed.Key() != permit.Key() || resumed.Fence() != permit.Fence() {
			t.Fatalf("resumed %v, %v", resumed, err)
		}
		got := make(chan *Lock)
		go func() {
			next, err := r.locker(WithFencing()).Semaphore("k", 1).Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- next
		}()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		start := time.Now()
		if err := other.Release(t.Context(), resumed.Handover()); err != nil {
			t.Error(err)
		}
		next := <-got
		took(t, start, 0, 2*time.Millisecond)
		if next.Fence() <= resumed.Fence() {
			t.Errorf("the token %d follows on %d", next.Fence(), resumed.Fence())
		}
		if err := next.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Inspect shows the holder of each slot, and who waits.
func TestSemaphoreInspect(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		a, b := r.locker(WithOwner("a"), WithKeyPrefix("app:")), r.locker(WithOwner("b"), WithKeyPrefix("app:"))
		s := a.Semaphore("k", 2)
		permit, err := s.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Inspect(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatalf("%v, %v", all, err)
		}
		free := 0
		for i, status := range all {
			if want := fmt.Sprintf("app:k{app:k}:permits:%d", i+1); status.Key != want {
				t.Errorf("slot %d is %s, want %s", i+1, status.Key, want)
			}
			switch {
			case status.State == StateFree:
				free++
			case status.Key != "app:"+permit.Key() || status.State != StateHeld || status.Owner != "a":
				t.Errorf("a slot is %v", status)
			}
		}
		if free != 1 {
			t.Errorf("%d slots are free, want 1", free)
		}
		second, err := b.Semaphore("k", 2).Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := b.Semaphore("k", 2).Acquire(ctx)
			failed <- err
		}()
		time.Sleep(time.Second)
		all, err = s.Inspect(t.Context())
		for _, status := range all {
			if err != nil || status.State != StateHeld || status.Waiting != 1 || len(status.Waiters) != 1 || status.Waiters[0].Owner != "b" {
				t.Errorf("a slot is %v, %v; want it held, and b waiting", status, err)
			}
		}
		cancel()
		matches(t, <-failed, ErrTaken, context.Canceled)

		// Break releases the slot of a holder that is gone.
		status, err := a.Inspect(t.Context(), second.Key())
		if err != nil || status.Owner != "b" {
			t.Fatalf("%v, %v", status, err)
		}
		if _, err := a.Break(t.Context(), second.Key(), status.Fingerprint); err != nil {
			t.Error(err)
		}
		matches(t, second.Unlock(t.Context()), ErrNotHeld)
		if err := permit.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What is wrong with the arguments is found before any node is asked.
func TestSemaphoreArguments(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		none := func(context.Context) error { return nil }
		for _, tc := range []struct {
			s    *Semaphore
			want string
		}{
			{new(Semaphore), "not made by New"},
			{(*Locker)(nil).Semaphore("k", 1), "not made by New"},
			{l.Semaphore("", 1), "an empty key"},
			{l.Semaphore("k", 0), "0 permits: must be from 1 to 1024"},
			{l.Semaphore("k", -1), "-1 permits"},
			{l.Semaphore("k", MaxPermits+1), "1025 permits"},
			{l.Semaphore("a}b", 1), "no hash tag"},
			{l.Semaphore("k{k}", 1), "same queue"},
			{l.Semaphore("k{k}:permits:1", 1), `the lock "k" keeps its permits there`},
			{l.Semaphore("k", 1, nil), "an option that is nil"},
			{l.Semaphore("k", 1, WithTTL(-1)), "a TTL of"},
			{l.Semaphore("k", 1, WithReentrancy()), "each call acquires another permit"},
		} {
			_, err1 := tc.s.Acquire(t.Context())
			_, err2 := tc.s.TryAcquire(t.Context())
			err3 := tc.s.Do(t.Context(), none)
			for i, err := range []error{err1, err2, err3} {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("call %d of %q with %d permits: error %v, want %q", i, tc.s.key, tc.s.n, err, tc.want)
				}
			}
		}
		if _, err := l.Semaphore("k", 1, WithWait(time.Second)).TryAcquire(t.Context()); err == nil {
			t.Error("TryAcquire takes a wait")
		}
		if _, err := l.Semaphore("k", 1).Acquire(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the ctx", err)
		}
		if _, err := l.Semaphore("k", 1).Inspect(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the ctx", err)
		}
		if err := l.Semaphore("k", 1).Do(t.Context(), nil); err == nil {
			t.Error("Do takes a function that is nil")
		}
		for _, key := range []string{"k{k}:permits:1", "k{k}:permits", "k{k}:permits:queue"} {
			if _, err := l.TryLock(t.Context(), key); err == nil || !strings.Contains(err.Error(), "not free for a lock") {
				t.Errorf("a lock on %s: %v", key, err)
			}
		}
		if n := r.calls(); n != 0 {
			t.Errorf("%d calls", n)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := l.Semaphore("k", 1).Acquire(t.Context()); err != ErrClosed {
			t.Errorf("error %v, want ErrClosed", err)
		}
	})
}

// While a minority of nodes is down, permits change hands as usual.
func TestSemaphoreWithoutAMinority(t *testing.T) {
	for _, size := range []int{3, 5} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			r.set(0, r.minority(), faulty.Refuse(nil))
			a, b := r.locker(), r.locker()
			var permits []*Lock
			for range 2 {
				permit, err := a.Semaphore("k", 2, WithAutoExtend()).Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				permits = append(permits, permit)
			}
			start := time.Now()
			_, err := b.Semaphore("k", 2).TryAcquire(t.Context())
			matches(t, err, ErrTaken)
			got := make(chan *Lock)
			go func() {
				permit, err := b.Semaphore("k", 2).Acquire(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- permit
			}()
			time.Sleep(time.Second)
			took(t, start, time.Second, time.Second+10*time.Millisecond)
			start = time.Now()
			if err := permits[0].Unlock(t.Context()); err != nil {
				t.Error(err)
			}
			permit := <-got
			took(t, start, 0, 10*time.Millisecond)
			for _, p := range []*Lock{permit, permits[1]} {
				if err := p.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			}
			r.clear()
			if err := errors.Join(a.Close(t.Context()), b.Close(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}
