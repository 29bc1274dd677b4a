//go:build unix

package overload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

type manyConfig struct {
	Adapter string
	Addr    string
	Waiting int     // number of keys with a waiter at any time
	Keys    int     // keys in all
	Rate    float64 // keys released per second
	Ramp    int     // waiters that start per second; 0 if all start at once
}

func manyKey(i int) string { return fmt.Sprint("many ", i) }

// releaseChild holds all keys. It releases them in order, at a rate, until it is
// told to release the rest.
func releaseChild(test *peer) error {
	var config manyConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, []string{config.Addr})
	if err != nil {
		return err
	}
	locks, err := acquire(locker, "many ", config.Keys, redlock.WithTTL(time.Hour))
	if err != nil {
		return err
	}
	if err := test.tell("held", nil); err != nil {
		return err
	}
	if err := test.expect("begin", nil, 5*time.Minute); err != nil {
		return err
	}
	var all atomic.Bool
	go func() {
		if test.expect("release all", nil, time.Hour) == nil {
			all.Store(true)
		}
	}()
	start := time.Now()
	for i, lock := range locks {
		rate := config.Rate
		if all.Load() {
			rate = sized(4000.0, 2000.0)
			start = start.Add(time.Duration(i) * time.Duration((1/config.Rate-1/rate)*float64(time.Second)))
			config.Rate = rate
		}
		time.Sleep(time.Until(start.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
		go lock.Unlock(context.Background()) // the library repeats failed deletions
	}
	if err := test.tell("released", nil); err != nil {
		return err
	}
	return test.expect("end", nil, 5*time.Minute)
}

// bucket is the resolution of goodput.
const bucket = 100 * time.Millisecond

type waitForManyResult struct {
	Acquired int
	Errors   map[string]int // of calls that have given up
	Begun    time.Time
	Buckets  []int64 // locks acquired, from Begun on
	Used     usage
}

// waitForManyChild waits for many keys at once. A waiter that gets its key unlocks
// it and waits for another, until none is left.
func waitForManyChild(test *peer) error {
	var config manyConfig
	if err := test.expect("config", &config, patience); err != nil {
		return err
	}
	locker, err := open(config.Adapter, []string{config.Addr})
	if err != nil {
		return err
	}
	if err := test.expect("begin", nil, 5*time.Minute); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begun, m := time.Now(), startMeter()
	buckets := make([]atomic.Int64, int(10*time.Minute/bucket))
	var acquired, next atomic.Int64
	ended := make(chan error, config.Keys)
	for waiter := range config.Waiting {
		if config.Ramp > 0 {
			time.Sleep(time.Until(begun.Add(time.Second * time.Duration(waiter) / time.Duration(config.Ramp))))
		}
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= config.Keys {
					return
				}
				lock, err := locker.Lock(ctx, manyKey(i))
				if err == nil {
					acquired.Add(1)
					buckets[min(int(time.Since(begun)/bucket), len(buckets)-1)].Add(1)
					lock.Unlock(context.Background())
				}
				ended <- err
			}
		}()
	}
	if err := test.tell("waiting", nil); err != nil {
		return err
	}

	errs := map[string]int{}
	give := make(chan error, 1)
	go func() { give <- test.expect("give up", nil, time.Hour) }()
	for range config.Keys {
		var err error
		select {
		case err = <-ended:
		case gone := <-give:
			if gone != nil {
				return gone
			}
			cancel()
			give = nil
			err = <-ended
		}
		if err != nil {
			errs[kindOf(err)]++
		}
	}
	result := waitForManyResult{Acquired: int(acquired.Load()), Errors: errs, Begun: begun, Used: m.stop()}
	for i := range min(int(time.Since(begun)/bucket)+1, len(buckets)) {
		result.Buckets = append(result.Buckets, buckets[i].Load())
	}
	return test.tell("result", result)
}

// goodput returns how many locks per second were acquired in the second before a
// moment.
func (r *waitForManyResult) goodput(at time.Time) float64 {
	end := int(at.Sub(r.Begun) / bucket)
	sum := int64(0)
	for i := max(0, end-int(time.Second/bucket)); i < min(end, len(r.Buckets)); i++ {
		sum += r.Buckets[i]
	}
	return float64(sum)
}

// recovered returns how long after a moment goodput reached a rate, if it did so before another
// moment.
func (r *waitForManyResult) recovered(from, until time.Time, rate float64) (time.Duration, bool) {
	// The first second that counts begins when the server is back.
	for at := from.Add(time.Second); !at.After(until); at = at.Add(bucket) {
		if r.goodput(at) >= rate {
			return at.Sub(from), true
		}
	}
	return until.Sub(from), false
}

// A server restarts, and keeps its data, while callers wait for many keys.
func TestRestarts(t *testing.T) {
	if rung, err := servers.Rung(t.Context()); err == nil && strings.Contains(rung, "on containers") {
		t.Skip("a container takes seconds to start a server again: QUORUMLOCK_RUNG=processes runs it")
	}
	for _, client := range []struct {
		name  string
		cores float64 // 0 means no limit
		ramp  int
	}{
		{"unlimited", 0, 2000},
		{"half a core", 0.5, 1000},
		{"all start at once", 0, 0},
	} {
		for _, adapter := range adapters(t, false) {
			t.Run(client.name+"/"+adapter, func(t *testing.T) {
				if client.ramp == 0 && !full() {
					t.Skip("needs the full size")
				}
				testRestarts(t, adapter, client.cores, client.ramp)
			})
		}
	}
}

func testRestarts(t *testing.T, adapter string, cores float64, ramp int) {
	config := manyConfig{Adapter: adapter, Ramp: ramp, Waiting: sized(reduced(t, 5_000), 20_000), Rate: sized(200.0, 300.0)}
	restarts, spacing := sized(1, 10), sized(3*time.Second, 7*time.Second)
	warm := sized(1500*time.Millisecond, 3*time.Second)
	released := int(config.Rate * (warm + time.Duration(restarts)*(spacing+time.Second)).Seconds())
	config.Keys = config.Waiting + released

	server := realServers(t, 1, servers.WithArgs("--enable-debug-command", "yes", "--appendonly", "yes", "--appendfsync", "no"))[0]
	config.Addr = server.Addr()
	tb := newTable(t, "N=1, %s, %d keys waited for, %.0f released per second, %d restarts", adapter, config.Waiting, config.Rate, restarts)

	holder := startChild(t, "release", config)
	holder.expect("held", nil, 5*time.Minute)
	waiters := startChild(t, "wait for many", config)
	if cores > 0 {
		limitCPU(t, waiters.cmd.Process, cores)
	}
	waiters.tell("begin", nil)
	waiters.expect("waiting", nil, time.Minute)
	queued := time.Now()
	for { // until all are queued, for at most a minute
		if n := int(server.Do(t, "DBSIZE").(int64)); n >= config.Keys+config.Waiting || time.Since(queued) > time.Minute {
			tb.note("queued", "%d of %d within %v of the last start", n-config.Keys, config.Waiting, time.Since(queued).Round(10*time.Millisecond))
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	holder.tell("begin", nil)
	time.Sleep(warm)

	type outage struct{ from, to time.Time }
	var outages []outage
	healthyUntil := time.Now()
	for range restarts {
		down := time.Now()
		restart(t, server)
		outages = append(outages, outage{down, time.Now()})
		time.Sleep(spacing)
	}
	holder.tell("release all", nil)
	holder.expect("released", nil, time.Minute)
	ended := time.Now()
	time.AfterFunc(sized(3*time.Second, 30*time.Second), func() { waiters.peer.tell("give up", nil) })
	var result waitForManyResult
	waiters.expect("result", &result, 2*time.Minute)

	healthy := result.goodput(healthyUntil)
	tb.note("client", "%.2f cores, %.0f MB more at the peak, %d goroutines", result.Used.cores(), mb(result.Used.Memory), result.Used.Goroutines)
	atLeast(tb, "goodput before the restarts", healthy, 0.8*config.Rate, "%.0f/s")
	for i, o := range outages {
		until := ended
		if i+1 < len(outages) {
			until = outages[i+1].from
		}
		took, ok := result.recovered(o.to, until, 0.8*config.Rate)
		value := fmt.Sprintf("%v, at the end %.0f/s", took, result.goodput(until))
		if !ok {
			value = fmt.Sprintf("not within %v, at the end %.0f/s", took.Round(bucket), result.goodput(until))
		}
		tb.rate(ok && took <= 5*time.Second, fmt.Sprintf("goodput is back after restart %d (away for %v)", i+1, o.to.Sub(o.from).Round(time.Millisecond)), value, "at most 5s")
	}
	tb.note("errors of waiters", "%v", result.Errors)
	exactly(tb, "waiters that got their lock", result.Acquired, config.Keys)
}

// restart makes a server shut down and, 300 ms later, replace itself with a new one
// that reads its data. Stopping and starting a container takes much longer.
func restart(t *testing.T, server *servers.Server) {
	t.Helper()
	id := func() string {
		text, _ := server.Query(t.Context(), "INFO", "server")
		_, after, _ := strings.Cut(fmt.Sprint(text), "run_id:")
		return after[:min(len(after), 40)]
	}
	before := id()
	server.Query(t.Context(), "DEBUG", "RESTART", 300) // ends with the connection
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if now := id(); now != "" && now != before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not restarted", server)
		}
	}
}

// limitCPU limits a process to a share of a core. The test is skipped if that is not possible.
func limitCPU(t *testing.T, process *os.Process, cores float64) {
	t.Helper()
	pid := process.Pid
	const period = 100_000 // µs
	quota := strconv.Itoa(int(cores * period))
	for _, version := range []struct {
		root  string
		files map[string]string
	}{
		{"/sys/fs/cgroup/cpu", map[string]string{"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": quota}},
		{"/sys/fs/cgroup", map[string]string{"cpu.max": quota + " " + strconv.Itoa(period)}},
	} {
		stale, _ := filepath.Glob(filepath.Join(version.root, "quorumlock-overload-*"))
		for _, group := range stale { // left by tests that were interrupted
			os.Remove(group) // fails for a group that is in use
		}
		group := filepath.Join(version.root, fmt.Sprintf("quorumlock-overload-%d", pid))
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		var errs []error
		for name, value := range version.files {
			errs = append(errs, os.WriteFile(filepath.Join(group, name), []byte(value), 0o644))
		}
		errs = append(errs, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644))
		if errors.Join(errs...) != nil {
			os.Remove(group)
			continue
		}
		t.Cleanup(func() { // a group with a process in it cannot be removed
			process.Kill()
			err := os.Remove(group)
			for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); err = os.Remove(group) {
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil {
				t.Errorf("control group: %v", err)
			}
		})
		return
	}
	t.Skip("no control group can be made here to limit the client's CPU")
}
