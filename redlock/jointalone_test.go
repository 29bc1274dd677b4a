package redlock

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// onWarmNode runs f on one node that has answered before, so that callers make calls themselves.
// The node takes trip for each call.
func onWarmNode(t *testing.T, trip time.Duration, f func(t *testing.T, r *rig, l *Locker)) {
	t.Helper()
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "warm").Unlock(t.Context())
		synctest.Wait()
		r.setAll(faulty.Delay(trip))
		r.fault[0].Forget()
		f(t, r, l)
	})
}

// A Shutdown in the middle of a call that the caller makes itself leaves no key.
func TestShutdownDuringLockAllOnOneNode(t *testing.T) {
	const trip = 20 * time.Millisecond
	for _, at := range []string{"lock", "unlock"} {
		onWarmNode(t, trip, func(t *testing.T, r *rig, l *Locker) {
			ended := make(chan error, 1)
			var locks *Locks
			lock := func() (err error) {
				locks, err = l.LockAll(t.Context(), []string{"a", "b", "c"})
				return err
			}
			if at == "lock" {
				go func() { ended <- lock() }()
			} else {
				if err := lock(); err != nil {
					t.Fatal(err)
				}
				go func() { ended <- locks.Unlock(t.Context()) }()
			}
			time.Sleep(trip / 2)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := l.Shutdown(ctx); err != nil {
				t.Errorf("%s: shutdown: %v", at, err)
			}
			err := <-ended
			switch {
			case at == "lock":
				matches(t, err, ErrClosed)
			case err != nil:
				t.Errorf("unlock: %v", err)
			}
			r.clean(l)
		})
	}
}

// With fencing tokens, LockAll and Unlock are one call each on one node, and the token of each
// key increases.
func TestLockAllFencesOnOneNode(t *testing.T) {
	const trip = 20 * time.Millisecond
	onWarmNode(t, trip, func(t *testing.T, r *rig, l *Locker) {
		keys, last := []string{"a", "b", "c"}, make(map[string]uint64)
		for range 3 {
			before, start := r.counts(), time.Now()
			locks, err := l.LockAll(t.Context(), keys, WithFencing())
			if err != nil {
				t.Fatal(err)
			}
			took(t, start, trip, trip)
			r.spent(before, 3, "LockAll with fencing")
			for _, key := range keys {
				if fence := locks.Fence(key); fence <= last[key] {
					t.Errorf("the token of %s is %d after %d", key, fence, last[key])
				} else {
					last[key] = fence
				}
			}
			if err := locks.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			took(t, start, 2*trip, 2*trip)
		}
	})
}

// A LockAll that does not wait extends nothing, also with a minimum hold.
func TestLockAllMinHoldOnOneNode(t *testing.T) {
	const trip = 20 * time.Millisecond
	onWarmNode(t, trip, func(t *testing.T, r *rig, l *Locker) {
		start := time.Now()
		locks, err := l.LockAll(t.Context(), []string{"a", "b"}, WithMinHold(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		took(t, start, trip, trip)
		_ = locks.Unlock(t.Context())
		time.Sleep(time.Second)
		r.clean(l)
	})
}
