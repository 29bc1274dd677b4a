//go:build unix

package overload

import (
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

type heldLocksConfig struct {
	Adapter string
	Addrs   []string
	Held    int
	TTL     time.Duration
	Watch   time.Duration
}

type heldLocksResult struct {
	Acquiring  time.Duration
	Heap       int64 // of all locks
	Goroutines int
	Watched    usage
	Lost       int
	Calls      *tally
}

// heldLocksChild holds many locks that extend themselves.
func heldLocksChild(test *peer) error {
	var config heldLocksConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, config.Addrs)
	if err != nil {
		return err
	}
	heap, start := heapInUse(), time.Now()
	held, err := acquire(locker, "held ", config.Held, redlock.WithTTL(config.TTL), redlock.WithAutoExtend())
	if err != nil {
		return err
	}
	result := heldLocksResult{Acquiring: time.Since(start), Heap: heapInUse() - heap}
	calls := startCallers(locker, 1, 20*time.Millisecond)
	m := startMeter()
	time.Sleep(config.Watch)
	result.Calls, result.Watched = calls.stop(), m.stop()
	result.Lost = lost(held)
	return test.tell("result", result)
}

// A process holds many locks that extend themselves.
func TestHeldLocks(t *testing.T) {
	for _, adapter := range adapters(t, false) {
		t.Run(adapter, func(t *testing.T) {
			// Each lock is extended after a third of its TTL, which is 50 000 extensions per
			// second at full size.
			held, ttl := sized(reduced(t, 20_000), 1_000_000), sized(3*time.Second, time.Minute)
			list := realServers(t, 1)
			tb := newTable(t, "N=1, %s, %d locks that extend themselves, TTL %v", adapter, held, ttl)
			c := startChild(t, "held locks", heldLocksConfig{adapter, addrsOf(list), held, ttl, ttl * 3 / 2})
			var result heldLocksResult
			c.expect("result", &result, 10*time.Minute)
			tb.note("to acquire", "%v", result.Acquiring.Round(time.Millisecond))
			tb.note("memory per lock", "%d bytes", result.Heap/int64(held))
			tb.note("client", "%.2f cores, %.0f MB more at the peak, %d goroutines at the peak", result.Watched.cores(), mb(result.Watched.Memory), result.Watched.Goroutines)
			tb.note("other calls", "median %v, 99 %% %v, longest %v, errors %v", result.Calls.Median, result.Calls.P99, result.Calls.Longest, result.Calls.Errors)
			exactly(tb, "keys missing", held-int(list[0].Do(t, "DBSIZE").(int64)), 0)
			atLeast(tb, "other calls that succeeded", 100*result.Calls.succeeded(), 99, "%.1f %%")
			noneLost(tb, "locks lost", result.Lost)
		})
	}
}
