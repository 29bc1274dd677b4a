package behaviour

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// On real servers, a minimum hold outlasts the unlock and the process, and ends by itself and on
// time.
func TestMinHold(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		all := servers.Start(t, kind, 3) // each test has its own key
		eachAdapter(t, func(t *testing.T, a adapter) {
			t.Parallel() // because it mostly sleeps
			for _, n := range []int{1, 3} {
				for _, closed := range []bool{false, true} {
					t.Run(fmt.Sprintf("N=%d closed %v", n, closed), func(t *testing.T) {
						t.Parallel()
						minHold(t, a, all[:n], fmt.Sprint(a.Name, n, closed), closed)
					})
				}
			}
		})
	})
}

// minHold unlocks key before its minimum hold is over, closes the Locker if closed is set, and
// checks when the next caller gets the lock.
func minHold(t *testing.T, a adapter, list []*servers.Server, key string, closed bool) {
	const hold = 2 * time.Second
	ttl := 20 * time.Second // the library ends the lock
	if closed {
		ttl = time.Second // the servers end the lock
	}
	locker := a.locker(t, addrs(list), redlock.WithTTL(ttl), redlock.WithMinHold(hold))
	rival := a.locker(t, addrs(list))
	cycle(t, rival, key+" warm")
	watch := stall.Begin()
	start := time.Now()
	if err := locker.TryDo(t.Context(), key, func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > hold/2 {
		t.Errorf("TryDo took %v, want no wait for the end of the hold", took)
	}
	if closed {
		if err := locker.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(time.Until(start.Add(hold / 2)))
	lock, err := rival.TryLock(t.Context(), key)
	// If the machine stood still, the hold may have ended.
	if left := time.Until(start.Add(hold)); left > 0 && !errors.Is(err, redlock.ErrTaken) {
		t.Errorf("%v before the end: %v, want ErrTaken", left, err)
	}
	if err == nil {
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	}
	lock, err = rival.Lock(t.Context(), key, redlock.WithWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	watch.End()
	if stalled := watch.Within(start, start.Add(took)); took < hold || took-stalled > hold+500*time.Millisecond {
		t.Errorf("the next holder had the lock after %v, want %v; the machine stood still for %v", took, hold, stalled)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

// Several machines with different clocks run a short job in each period. With a minimum hold, the
// job runs once per period on one of them.
func TestJobRunsOncePerPeriod(t *testing.T) {
	list := servers.Start(t, servers.Any, 3) // each test has its own key
	eachAdapter(t, func(t *testing.T, a adapter) {
		t.Parallel() // because it mostly sleeps
		const (
			period  = 2 * time.Second
			periods = 4
			apart   = 300 * time.Millisecond
		)
		// run returns an error unless the job runs that often. A machine that stands still may
		// miss a period, so run is repeated then.
		run := func(t *testing.T, want int64, opts ...redlock.LockOption) error {
			return unlessStalled(t, func(try int) error {
				var all sync.WaitGroup
				var runs atomic.Int64
				start := time.Now().Add(50 * time.Millisecond)
				errs := make([]error, 3)
				for machine := range errs {
					locker := a.locker(t, addrs(list))
					all.Go(func() {
						for i := range periods {
							time.Sleep(time.Until(start.Add(time.Duration(i)*period + time.Duration(machine)*apart)))
							err := locker.TryDo(t.Context(), fmt.Sprint("job ", t.Name(), try), func(context.Context) error {
								runs.Add(1)
								time.Sleep(10 * time.Millisecond)
								return nil
							}, opts...)
							if err != nil && !errors.Is(err, redlock.ErrTaken) {
								errs[machine] = err
							}
						}
					})
				}
				all.Wait()
				if n := runs.Load(); n != want {
					return fmt.Errorf("%d runs in %d periods, want %d (%v)", n, periods, want, errors.Join(errs...))
				}
				return errors.Join(errs...)
			})
		}
		t.Run("with a minimum hold", func(t *testing.T) {
			t.Parallel()
			if err := run(t, periods, redlock.WithMinHold(period/2)); err != nil {
				t.Error(err)
			}
		})
		// The clocks differ by enough for each machine to run the job.
		t.Run("without", func(t *testing.T) {
			t.Parallel()
			if err := run(t, 3*periods); err != nil {
				t.Error(err)
			}
		})
	})
}
