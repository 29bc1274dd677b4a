package behaviour

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	if took < hold { // no stall of the machine makes it shorter
		t.Errorf("unsafe: the next holder had the lock after %v, want %v", took, hold)
	}
	if stalled := watch.Within(start, start.Add(took)); took-stalled > hold+500*time.Millisecond {
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
			margin  = redlock.DefaultNodeTimeout / 10 // as stalls add up, and the servers have their own
		)
		// run returns an error unless the job runs that often, and fails the test if a run began
		// before the minimum hold of another one was over. A machine that stands still may miss a
		// period, or run the job a second time after a hold that is over, so run is repeated then.
		run := func(t *testing.T, want int, hold time.Duration) error {
			var opts []redlock.LockOption
			if hold > 0 {
				opts = append(opts, redlock.WithMinHold(hold))
			}
			return unlessStalled(t, margin, func(try int) error {
				type job struct{ asked, began time.Time }
				var (
					all  sync.WaitGroup
					mu   sync.Mutex
					jobs []job
				)
				start := time.Now().Add(50 * time.Millisecond)
				errs := make([]error, 3)
				for machine := range errs {
					locker := a.locker(t, addrs(list))
					all.Go(func() {
						for i := range periods {
							time.Sleep(time.Until(start.Add(time.Duration(i)*period + time.Duration(machine)*apart)))
							asked := time.Now()
							err := locker.TryDo(t.Context(), fmt.Sprint("job ", t.Name(), try), func(context.Context) error {
								mu.Lock()
								jobs = append(jobs, job{asked, time.Now()})
								mu.Unlock()
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
				// A hold counts from after asked, and a run begins when its lock is acquired. So of two
				// runs, one begins a hold after the other one asked, even if the machine stands still.
				for i, a := range jobs {
					for _, b := range jobs[:i] {
						if d := max(a.began.Sub(b.asked), b.began.Sub(a.asked)); d < hold {
							t.Errorf("unsafe: a run began %v after another one had asked for the lock, want at least %v", d, hold)
							return nil
						}
					}
				}
				if n := len(jobs); n != want {
					return fmt.Errorf("%d runs in %d periods, want %d (%v)", n, periods, want, errors.Join(errs...))
				}
				return errors.Join(errs...)
			})
		}
		t.Run("with a minimum hold", func(t *testing.T) {
			t.Parallel()
			if err := run(t, periods, period/2); err != nil {
				t.Error(err)
			}
		})
		// The clocks differ by enough for each machine to run the job.
		t.Run("without", func(t *testing.T) {
			t.Parallel()
			if err := run(t, 3*periods, 0); err != nil {
				t.Error(err)
			}
		})
	})
}
