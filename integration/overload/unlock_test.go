//go:build unix

package overload

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

type unlockFloodConfig struct {
	Adapter string
	Addrs   []string
	Held    int // locks that are unlocked at once
	Kept    int // locks that extend themselves
	TTL     time.Duration
}

type unlockFloodResult struct {
	Unlocks        *tally
	Healthy, Calls *tally
	Lost           int
	Used           usage
}

// unlockFloodChild holds locks, keeps others, makes calls, and unlocks all held locks at once.
func unlockFloodChild(test *peer) error {
	var config unlockFloodConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, config.Addrs)
	if err != nil {
		return err
	}
	held, err := acquire(locker, "held ", config.Held, redlock.WithTTL(10*time.Minute))
	if err != nil {
		return err
	}
	kept, err := acquire(locker, "kept ", config.Kept, redlock.WithTTL(config.TTL), redlock.WithAutoExtend())
	if err != nil {
		return err
	}
	calls := startCallers(locker, 16, 0)
	time.Sleep(200 * time.Millisecond) // until connections are open
	calls.next()
	time.Sleep(time.Second)

	result := unlockFloodResult{Healthy: calls.next()}
	m, unlocks := startMeter(), newTally()
	var wg sync.WaitGroup
	for _, lock := range held {
		wg.Go(func() {
			start := time.Now()
			err := lock.Unlock(context.Background())
			unlocks.add(time.Since(start), err)
		})
	}
	wg.Wait()
	result.Calls, result.Unlocks, result.Used = calls.next(), unlocks.close(), m.stop()
	calls.stop()
	time.Sleep(config.TTL) // locks end that can no longer be extended
	result.Lost = lost(kept)
	if err := test.tell("result", result); err != nil {
		return err
	}
	return test.expect("end", nil, 10*time.Minute)
}

// A process unlocks all its locks at once.
func TestUnlockFlood(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, adapter := range adapters(t, n == 1) {
			t.Run(fmt.Sprintf("N=%d/%s", n, adapter), func(t *testing.T) {
				held := sized(40_000, 200_000)
				if n > 1 && full() {
					held /= 2
				}
				const kept = 100
				list := realServers(t, n)
				tb := newTable(t, "N=%d, %s, %d unlocks at once", n, adapter, held)
				c := startChild(t, "unlock flood", unlockFloodConfig{adapter, addrsOf(list), held, kept, sized(2*time.Second, 3*time.Second)})
				var result unlockFloodResult
				c.expect("result", &result, 5*time.Minute)

				// The keys are far from expiry, so only a deletion removes them.
				left, deadline := 0, time.Now().Add(time.Minute)
				for {
					left = 0
					for _, s := range list {
						left = max(left, int(s.Do(t, "DBSIZE").(int64)))
					}
					if left <= kept || time.Now().After(deadline) {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				c.tell("end", nil)

				slower := func(of func(*tally) time.Duration) float64 {
					return float64(of(result.Calls)) / float64(of(result.Healthy))
				}
				tb.note("unlocks", "%v in all, median %v, longest %v", result.Unlocks.Wall, result.Unlocks.Median, result.Unlocks.Longest)
				tb.note("unlocks that failed", "%.1f %% %v", 100-100*result.Unlocks.succeeded(), result.Unlocks.Errors)
				tb.note("client", "%.2f cores, %.0f MB more at the peak, %d goroutines", result.Used.cores(), mb(result.Used.Memory), result.Used.Goroutines)
				tb.note("other calls, before", "%.0f/s, mean %v, median %v, 99 %% %v", result.Healthy.perSecond(), result.Healthy.Mean, result.Healthy.Median, result.Healthy.P99)
				tb.note("other calls, meanwhile", "%.0f/s, mean %v, median %v, 99 %% %v, longest %v, errors %v", result.Calls.perSecond(), result.Calls.Mean, result.Calls.Median, result.Calls.P99, result.Calls.Longest, result.Calls.Errors)
				tb.note("other calls are slower by, mean", "%.1f times", slower(func(y *tally) time.Duration { return y.Mean }))
				tb.note("other calls are slower by, 99 %", "%.1f times", slower(func(y *tally) time.Duration { return y.P99 }))
				exactly(tb, "keys left", max(0, left-kept), 0)
				atLeast(tb, "other calls that succeeded", 100*result.Calls.succeeded(), 90, "%.1f %%")
				// A short flood ends before the scheduler has run all goroutines.
				atMost(tb, "other calls are slower by, median", slower(func(y *tally) time.Duration { return y.Median }), sized(100.0, 10), "%.1f times")
				noneLost(tb, "locks lost of 100", result.Lost)
			})
		}
	}
}
