//go:build unix

package overload

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

type failedNodeConfig struct {
	Adapter string
	Addrs   []string
	Held    int
	Watch   time.Duration // for how long the process is measured after the unlocks
}

type failedNodeResult struct {
	Acquiring time.Duration
	Unlocks   *tally
	During    usage // while all locks are unlocked
	After     usage // from then on
	Calls     *tally
}

// failedNodeChild holds locks, waits for the failure, unlocks all of them, and
// measures what that costs. Then it measures what the process does afterwards.
func failedNodeChild(test *peer) error {
	var config failedNodeConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, config.Addrs)
	if err != nil {
		return err
	}
	var result failedNodeResult
	start := time.Now()
	held, err := acquire(locker, "held ", config.Held, redlock.WithTTL(sized(15*time.Second, 30*time.Second)))
	if err != nil {
		return err
	}
	result.Acquiring = time.Since(start)
	if err := test.tell("held", nil); err != nil {
		return err
	}
	if err := test.expect("failed", nil, patience); err != nil {
		return err
	}

	unlocks, m := newTally(), startMeter()
	spread(len(held), 128, func(i int) error {
		start := time.Now()
		err := held[i].Unlock(context.Background())
		unlocks.add(time.Since(start), err)
		return nil
	})
	result.Unlocks, result.During = unlocks.close(), m.stop()

	calls := startCallers(locker, 1, 20*time.Millisecond)
	m = startMeter()
	time.Sleep(config.Watch)
	result.Calls = calls.stop()
	result.After = m.stop()
	return test.tell("result", result)
}

// failure is what happens to one node of three.
type failure string

const (
	downBefore failure = "down from the start"
	dies       failure = "dies"
	cuts       failure = "cuts every connection"
	rejects    failure = "rejects every connection"
)

// fail makes a failure happen.
func (f *front) fail(how failure) {
	switch how {
	case downBefore, dies:
		f.refuse()
	case cuts:
		f.cut("")
	case rejects:
		f.cut("-ERR max number of clients reached\r\n")
	}
}

// withFailedNode runs a failedNodeChild on three servers, one of which fails.
func withFailedNode(t *testing.T, adapter string, how failure, held int, watch time.Duration) (failedNodeResult, int) {
	t.Helper()
	list := realServers(t, 3)
	f := newFront(t, list[2].Addr())
	if how == downBefore {
		f.refuse()
	}
	addrs := append(addrsOf(list[:2]), f.addr)
	c := startChild(t, "failed node", failedNodeConfig{adapter, addrs, held, watch})
	c.expect("held", nil, 5*time.Minute)
	f.fail(how)
	before := f.count()
	c.tell("failed", nil)
	var result failedNodeResult
	c.expect("result", &result, 5*time.Minute)
	return result, f.count() - before
}

// One node of three fails while a process holds many locks, which it then unlocks. The cost is
// compared with that of a node that was down from the start.
func TestFailedNode(t *testing.T) {
	for _, adapter := range adapters(t, false) {
		for _, held := range sized([]int{reduced(t, 8_000)}, []int{20_000, 80_000}) {
			t.Run(fmt.Sprintf("held=%d/%s", held, adapter), func(t *testing.T) {
				watch := sized(2*time.Second, 12*time.Second)
				results := map[failure]failedNodeResult{}
				tb := newTable(t, "N=3, %s, one fails while %d locks are held; then all are unlocked, and the process is watched for %v", adapter, held, watch)
				for _, how := range []failure{downBefore, dies, cuts, rejects} {
					t.Run(string(how), func(t *testing.T) {
						result, connections := withFailedNode(t, adapter, how, held, watch)
						results[how] = result
						tb.note(string(how), "acquired in %v, unlocked in %v, failed %d; connections %d; calls afterwards: median %v, longest %v, failed %d of %d",
							result.Acquiring.Round(time.Millisecond), result.Unlocks.Wall.Round(time.Millisecond), result.Unlocks.Failed, connections,
							result.Calls.Median, result.Calls.Longest.Round(time.Millisecond), result.Calls.Failed, result.Calls.Calls)
					})
				}
				control, ok := results[downBefore]
				if !ok {
					return
				}
				// A constant is added to each bound, because small figures vary by more than
				// a tenth.
				for _, how := range []failure{dies, cuts, rejects} {
					result, ok := results[how]
					if !ok {
						continue
					}
					for _, part := range []struct {
						name          string
						got, expected usage
					}{{"unlocking", result.During, control.During}, {"afterwards", result.After, control.After}} {
						figure := func(name string) string { return fmt.Sprintf("%s, %s: %s", how, part.name, name) }
						slack := sized(0.5, 0.1)
						atMost(tb, figure("CPU"), part.got.CPU.Seconds(), (1+slack)*part.expected.CPU.Seconds()+0.03*part.got.Wall.Seconds(), "%.2f s")
						atMost(tb, figure("memory, peak"), mb(part.got.Memory), (1+slack)*mb(part.expected.Memory)+8, "%.0f MB")
						// A deletion waits for its node, at the latest until the TTL is over. It
						// takes about half of the memory of the held lock.
						atMost(tb, figure("heap at the end"), mb(part.got.Heap), (1+slack)*mb(part.expected.Heap)+4+float64(held)*0.0014, "%.1f MB")
						atMost(tb, figure("goroutines, peak"), float64(part.got.Goroutines), (1+slack)*float64(part.expected.Goroutines)+16, "%.0f")
					}
					atMost(tb, string(how)+": calls that failed afterwards", result.Calls.Failed, control.Calls.Failed, "%d")
				}
			})
		}
	}
}
