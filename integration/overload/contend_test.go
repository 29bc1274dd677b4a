//go:build unix

package overload

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

type contendConfig struct {
	Adapter string
	Addrs   []string
	Lockers int
	Waiters int // spread over the Lockers
}

// contendChild has waiters lock and unlock one key in a loop. It answers each
// message "count" with the number of locks so far.
func contendChild(test *peer) error {
	var config contendConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	var count atomic.Int64
	for i := range config.Lockers {
		locker, err := open(config.Adapter, config.Addrs)
		if err != nil {
			return err
		}
		for range (config.Waiters + config.Lockers - 1 - i) / config.Lockers {
			go func() { // ends with the process
				for {
					lock, err := locker.Lock(context.Background(), contended)
					if err != nil {
						continue
					}
					count.Add(1)
					lock.Unlock(context.Background())
				}
			}()
		}
	}
	for {
		if err := test.expect("count", nil, time.Hour); err != nil {
			return err
		}
		if err := test.tell("count", count.Load()); err != nil {
			return err
		}
	}
}

// contended is the key of all waiters.
const contended = "contended"

// A client that may only publish sends notifications for a key that many callers wait for, while
// another client holds it.
func TestForgedNotification(t *testing.T) {
	for _, size := range []struct{ nodes, lockers, waiters int }{{1, 30, 30}, {3, 30, 30}, {5, 12, 12}} {
		for _, adapter := range adapters(t, size.nodes == 3) {
			t.Run(fmt.Sprintf("N=%d/%s", size.nodes, adapter), func(t *testing.T) {
				rate := 1000                 // to all inboxes together
				if raceDetector && !full() { // the race detector alone uses up the machine
					rate = 50
					t.Logf("the race detector is on: %d forged notifications per second instead of 1000", rate)
				}
				length, turns := sized(time.Second, 5*time.Second), sized(2, 4)
				list := realServers(t, size.nodes)
				tb := newTable(t, "N=%d, %s, %d waiters of %d Lockers, %d forged notifications per second", size.nodes, adapter, size.waiters, size.lockers, rate)
				c := startChild(t, "contend", contendConfig{adapter, addrsOf(list), size.lockers, size.waiters})
				var targets []target
				for _, s := range list {
					for _, channel := range inboxes(t, s, size.lockers) {
						targets = append(targets, target{s.Addr(), channel})
					}
				}
				count := func() (n int) {
					c.tell("count", nil)
					c.expect("count", &n, patience)
					return n
				}
				time.Sleep(500 * time.Millisecond) // when many waiters start at once, they need a while to settle

				// Healthy and forged turns alternate, so that both meet the same machine.
				var healthy, under int
				var healthyTime, underTime time.Duration
				var sent forged
				var rates [][2]float64 // of each pair of turns
				for range turns {
					start, before := time.Now(), count()
					time.Sleep(length)
					calm, calmTime := count()-before, time.Since(start)
					healthy += calm
					healthyTime += calmTime

					start, before = time.Now(), count()
					ctx, cancel := context.WithTimeout(t.Context(), length)
					one := forgeKey(ctx, t, targets, contended, rate)
					cancel()
					noisy, noisyTime := count()-before, time.Since(start)
					under += noisy
					underTime += noisyTime
					rates = append(rates, [2]float64{float64(calm) / calmTime.Seconds(), float64(noisy) / noisyTime.Seconds()})
					sent.sent, sent.delivered, sent.wall = sent.sent+one.sent, sent.delivered+one.delivered, sent.wall+one.wall
				}
				before := float64(healthy) / healthyTime.Seconds()
				meanwhile := float64(under) / underTime.Seconds()
				tb.note("forged notifications", "%v", sent)
				tb.arrived(sent)
				tb.note("hand-overs per second, healthy and forged in turns", "%.0f", rates)
				tb.note("hand-overs, healthy", "%.0f/s", before)
				tb.note("hand-overs, forged", "%.0f/s", meanwhile)
				atLeast(tb, "share of the healthy rate", meanwhile/before, 0.5, "%.2f")
			})
		}
	}
}
