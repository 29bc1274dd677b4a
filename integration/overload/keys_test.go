//go:build unix

package overload

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

type forgedKeysConfig struct {
	Adapter string
	Addrs   []string
	Kept    int // locks that extend themselves
	TTL     time.Duration
}

type forgedKeysResult struct {
	Used  usage
	Lost  int
	Calls *tally
}

// forgedKeysChild keeps locks, makes calls and waits for a lock, so that its inbox
// is open.
func forgedKeysChild(test *peer) error {
	var config forgedKeysConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, config.Addrs)
	if err != nil {
		return err
	}
	kept, err := acquire(locker, "kept ", config.Kept, redlock.WithTTL(config.TTL), redlock.WithAutoExtend())
	if err != nil {
		return err
	}
	go locker.Lock(context.Background(), "kept 0") // ends with the process
	calls := startCallers(locker, 8, 10*time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	healthy := calls.next()
	if err := test.tell("healthy", healthy); err != nil {
		return err
	}

	if err := test.expect("begin", nil, patience); err != nil {
		return err
	}
	calls.next()
	m := startMeter()
	if err := test.expect("end", nil, 5*time.Minute); err != nil {
		return err
	}
	forged := calls.next()
	used := m.stop()
	time.Sleep(config.TTL) // locks end that can no longer be extended
	return test.tell("result", forgedKeysResult{used, lost(kept), forged})
}

// A client that may only publish floods an inbox with notifications for keys without waiters.
func TestForgedRandomKeys(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, adapter := range adapters(t, n == 1) {
			t.Run(fmt.Sprintf("N=%d/%s", n, adapter), func(t *testing.T) {
				rate := sized(300_000, 500_000)
				length := sized(2*time.Second, 20*time.Second)
				list := realServers(t, n)
				tb := newTable(t, "N=%d, %s, %d forged messages per second for %v", n, adapter, rate, length)
				c := startChild(t, "forged keys", forgedKeysConfig{adapter, addrsOf(list), 100, sized(2*time.Second, 3*time.Second)})
				var healthy tally
				c.expect("healthy", &healthy, patience)
				var targets []target
				for _, s := range list {
					targets = append(targets, target{s.Addr(), inboxes(t, s, 1)[0]})
				}

				c.tell("begin", nil)
				ctx, cancel := context.WithTimeout(t.Context(), length)
				defer cancel()
				sent := forgeKeys(ctx, t, targets, rate)
				c.tell("end", nil)
				var result forgedKeysResult
				c.expect("result", &result, 2*time.Minute)

				tb.note("forged messages", "%v", sent)
				tb.arrived(sent)
				tb.note("client CPU", "%.2f cores", result.Used.cores())
				tb.note("goroutines, peak", "%d", result.Used.Goroutines)
				tb.note("calls, healthy", "%.0f/s, median %v", healthy.perSecond(), healthy.Median)
				tb.note("calls, forged", "%.0f/s, median %v, longest %v, errors %v", result.Calls.perSecond(), result.Calls.Median, result.Calls.Longest, result.Calls.Errors)
				atMost(tb, "memory growth, peak", mb(result.Used.Memory), 64, "%.0f MB")
				atLeast(tb, "calls that succeeded", 100*result.Calls.succeeded(), 90, "%.1f %%")
				noneLost(tb, "locks lost of 100", result.Lost)
			})
		}
	}
}
