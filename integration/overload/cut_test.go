//go:build unix

package overload

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

type cutLoopConfig struct {
	Adapter string
	Addrs   []string
	TTL     time.Duration
}

type cutLoopResult struct {
	Calls *tally
	Work  usage // while calls are made
	Idle  usage // afterwards
}

// cutLoopChild makes calls, first with all nodes and then with one that has
// failed. Finally it stops making calls and measures the work that continues.
func cutLoopChild(test *peer) error {
	var config cutLoopConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, config.Addrs, redlock.WithTTL(config.TTL))
	if err != nil {
		return err
	}
	calls := startCallers(locker, 16, 0)
	time.Sleep(300 * time.Millisecond) // until connections are open
	if err := test.tell("ready", nil); err != nil {
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
	var result cutLoopResult
	result.Calls = calls.stop()
	result.Work = m.stop()
	m = startMeter()
	time.Sleep(time.Second)
	result.Idle = m.stop()
	return test.tell("result", result)
}

// A process locks and unlocks distinct keys in a loop, while one node of three cuts every
// connection. That costs as much as if the node were down.
func TestCutConnections(t *testing.T) {
	for _, adapter := range adapters(t, false) {
		for _, ttl := range sized([]time.Duration{10 * time.Second}, []time.Duration{10 * time.Second, 2 * time.Minute}) {
			t.Run(fmt.Sprintf("TTL=%v/%s", ttl, adapter), func(t *testing.T) {
				length := sized(2*time.Second, 10*time.Second)
				tb := newTable(t, "N=3, %s, distinct keys for %v, TTL %v, one node fails", adapter, length, ttl)
				results := map[failure]cutLoopResult{}
				for _, how := range []failure{downBefore, cuts, rejects} {
					t.Run(string(how), func(t *testing.T) {
						list := realServers(t, 3)
						f := newFront(t, list[2].Addr())
						c := startChild(t, "cut loop", cutLoopConfig{adapter, append(addrsOf(list[:2]), f.addr), ttl})
						c.expect("ready", nil, patience)
						f.fail(how)
						before := f.count()
						c.tell("begin", nil)
						time.Sleep(length)
						c.tell("end", nil)
						var result cutLoopResult
						c.expect("result", &result, time.Minute)
						results[how] = result
						tb.note(string(how), "%.0f locks/s, median %v, failed %d; connections %d; %.2f cores; %.0f MB peak growth; %d goroutines",
							result.Calls.perSecond()/2, result.Calls.Median, result.Calls.Failed, f.count()-before,
							result.Work.cores(), mb(result.Work.Memory), result.Work.Goroutines)
					})
				}
				control, ok := results[downBefore]
				if !ok {
					return
				}
				slack := sized(0.4, 0.1)
				perLock := func(r cutLoopResult) float64 {
					return 2e6 * r.Work.CPU.Seconds() / max(1, float64(r.Calls.Calls-r.Calls.Failed))
				}
				for _, how := range []failure{cuts, rejects} {
					got, ok := results[how]
					if !ok {
						continue
					}
					figure := func(name string) string { return fmt.Sprintf("%s: %s", how, name) }
					atLeast(tb, figure("locks per second"), got.Calls.perSecond()/2, (1-slack)*control.Calls.perSecond()/2, "%.0f")
					atMost(tb, figure("client CPU per lock"), perLock(got), (1+slack)*perLock(control), "%.0f µs")
					atMost(tb, figure("memory growth, peak"), mb(got.Work.Memory), (1+slack)*mb(control.Work.Memory)+8, "%.0f MB")
					atMost(tb, figure("heap at the end"), mb(got.Work.Heap), (1+slack)*mb(control.Work.Heap)+4, "%.1f MB")
					atMost(tb, figure("CPU when the work has stopped"), got.Idle.cores(), (1+slack)*control.Idle.cores()+0.03, "%.2f cores")
					atMost(tb, figure("share of calls that failed"), 100-100*got.Calls.succeeded(), 100-100*control.Calls.succeeded()+0.1, "%.2f %%")
				}
			})
		}
	}
}
