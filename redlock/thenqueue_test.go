package redlock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// busy makes callers that queue use a key all the time, until ctx ends: so many that the lock is
// never free. It returns when all wait or hold.
func (r *rig) busy(ctx context.Context, key string, callers int, hold time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range callers {
		l := r.locker()
		all.Go(func() {
			for ctx.Err() == nil {
				if lock, err := l.Lock(ctx, key); err == nil {
					time.Sleep(hold)
					lock.Unlock(context.WithoutCancel(ctx))
				}
			}
		})
	}
	time.Sleep(time.Second)
	return func() {
		cancel()
		all.Wait()
	}
}

// Beside callers that queue, a caller that only polls starves. One that joins the queue after a
// while gets the lock then, and at once, because its place is that of its first attempt.
func TestThenQueueDoesNotStarve(t *testing.T) {
	const (
		polls   = 2 * time.Second
		callers = 10
		hold    = 100 * time.Millisecond // so that a place at the end of the queue takes a second
	)
	policy := Fixed(300 * time.Millisecond).Jitter()
	for _, size := range []int{1, 3} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			r.distant(2 * time.Millisecond)
			end := r.busy(t.Context(), "k", callers, hold)
			l := r.locker(WithWait(10 * time.Second))
			if _, err := l.Lock(t.Context(), "k", WithRetry(policy)); !errors.Is(err, ErrTaken) {
				t.Errorf("a caller that only polls: %v, want ErrTaken, or the others do not keep the lock busy", err)
			}
			for range 5 {
				start := time.Now()
				lock, err := l.Lock(t.Context(), "k", WithRetry(policy.ThenQueue(polls)))
				if err != nil {
					t.Fatal(err)
				}
				// The holder and the one to whom the lock is reserved come first.
				took(t, start, polls, polls+4*hold)
				lock.Unlock(t.Context())
			}
			end()
			r.gone()
		})
	}
}

// While it polls, a caller joins no queue, so that a release leaves the lock free for another
// library. Once it queues, it is notified.
func TestThenQueuePollsFirst(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		holder, l := r.locker(), r.locker()
		held := r.lock(holder, "k")
		got := make(chan *Lock, 1)
		go func() {
			lock, err := l.Lock(t.Context(), "k", WithRetry(Fixed(time.Hour).ThenQueue(2*time.Second)))
			if err != nil {
				t.Error(err)
			}
			got <- lock
		}()
		time.Sleep(1900 * time.Millisecond)
		if n := r.queued("k"); n != 0 {
			t.Errorf("%d tickets while the caller polls, want none", n)
		}
		time.Sleep(200 * time.Millisecond) // a pause of the policy ends with the polling
		if n, want := r.queued("k"), len(r.mem); !r.bare && n != want {
			t.Errorf("%d tickets once it queues, want %d", n, want)
		}
		start := time.Now()
		held.Unlock(t.Context())
		lock := <-got
		took(t, start, 0, 300*time.Millisecond) // where nodes cannot notify, it polls at the default pace
		if lock != nil {
			lock.Unlock(t.Context())
		}
		r.gone()
	})
}

// From when it queues, a call gives up on unavailable nodes like one without a policy. While it
// polls, it does not.
func TestThenQueueHasPatience(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		r.setAll(faulty.Refuse(nil))
		start := time.Now()
		_, err := l.Lock(t.Context(), "k", WithRetry(Fixed(100*time.Millisecond).ThenQueue(20*time.Second)), WithPatience(3*time.Second))
		matches(t, err, ErrUnavailable)
		took(t, start, 20*time.Second, 21*time.Second)
		r.clear()
		r.gone()
	})
}

func TestThenQueueRejects(t *testing.T) {
	for name, p := range map[string]RetryPolicy{
		"no time":            Fixed(1).ThenQueue(0),
		"the zero policy":    RetryPolicy{}.ThenQueue(1),
		"a limit before it":  Fixed(1).Limit(2).ThenQueue(1),
		"a limit after it":   Fixed(1).ThenQueue(1).Limit(2),
		"an error before it": Fixed(-1).ThenQueue(1),
	} {
		if p.err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if p := Fixed(1).ThenQueue(1).Jitter(); p.err != nil || p.queue != 1 {
		t.Errorf("Jitter after ThenQueue: %v, polls for %v", p.err, p.queue)
	}
}
