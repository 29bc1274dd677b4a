package redlockotel_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
)

// The metrics of a run are what the run did. Workers of three classes of keys lock, try, extend
// and unlock while a node is slow, and then refuses; each worker writes down what its calls
// returned and how long they took.
func TestMetricsAreWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t, []redlock.Option{redlock.WithTTL(4 * time.Second), redlock.WithPatience(time.Second)})
		var (
			mu   sync.Mutex
			want = make(map[string]int)
			took = make(map[string]float64)
		)
		note := func(name string, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			want[name]++
			took[name] += d.Seconds()
		}
		kind := func(err error) string {
			switch {
			case err == nil:
				return ""
			case errors.Is(err, redlock.ErrTaken):
				return " error.type=taken"
			case errors.Is(err, redlock.ErrUnavailable):
				return " error.type=unavailable"
			}
			return fmt.Sprint(" unexpected: ", err)
		}
		o.set(2, 3, faulty.Delay(3*time.Millisecond))
		time.AfterFunc(20*time.Second, func() { o.set(0, 3, faulty.Delay(time.Millisecond)); o.set(2, 3, faulty.Refuse(nil)) })
		time.AfterFunc(40*time.Second, func() { o.set(1, 3, faulty.Refuse(nil)) })
		time.AfterFunc(50*time.Second, func() { o.set(0, 3, faulty.Delay(time.Millisecond)) })

		var workers sync.WaitGroup
		for i := range 6 {
			workers.Go(func() {
				rng := rand.New(rand.NewPCG(1, uint64(i)))
				upTo := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
				class := fmt.Sprint("class", i%3)
				end := time.Now().Add(time.Minute)
				for time.Now().Before(end) {
					begun, op := time.Now(), "lock"
					lock, err := (*redlock.Lock)(nil), error(nil)
					if rng.IntN(3) == 0 {
						op = "try_lock"
						lock, err = o.TryLock(t.Context(), class+"/k")
					} else {
						lock, err = o.Lock(t.Context(), class+"/k", redlock.WithWait(upTo(time.Second)+time.Millisecond))
					}
					note(fmt.Sprintf("redlock.lock.wait.duration%s redlock.key.class=%s redlock.operation=%s", kind(err), class, op), time.Since(begun))
					if err != nil {
						time.Sleep(upTo(100 * time.Millisecond))
						continue
					}
					held := time.Now()
					time.Sleep(upTo(500 * time.Millisecond))
					if rng.IntN(4) == 0 {
						err := lock.Extend(t.Context(), 4*time.Second)
						note(fmt.Sprintf("redlock.lock.extensions%s redlock.automatic=false redlock.key.class=%s", kind(err), class), 0)
					}
					note("redlock.lock.hold.duration redlock.key.class="+class, time.Since(held))
					err = lock.Unlock(t.Context())
					note(fmt.Sprintf("redlock.lock.unlocks%s redlock.key.class=%s redlock.operation=unlock", kind(err), class), 0)
				}
			})
		}
		workers.Wait()
		if err := o.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		settle()

		values, sums := o.series(t)
		for _, name := range []string{"redlock.lock.wait.duration", "redlock.lock.hold.duration", "redlock.lock.extensions", "redlock.lock.unlocks"} {
			if got, want := sum(values, name), sum(want, name); got != want {
				t.Errorf("%s: %d in all, want %d", name, got, want)
			}
		}
		for name, n := range want {
			if values[name] != n {
				t.Errorf("%s: %d, want %d", name, values[name], n)
			}
			if s := sums[name]; math.Abs(s-took[name]) > 1e-6 {
				t.Errorf("%s: %v s in all, want %v s", name, s, took[name])
			}
		}
		for i := range 3 {
			node := fmt.Sprint("server.address=node", i)
			name := fmt.Sprint("node", i)
			got, failed := sum(values, "redlock.node.request.duration", node, "server.port=6379"), sum(values, "redlock.node.request.duration", node, "error.type=failed")
			if got != o.requests[name] || failed != o.requests[name+" failed"] || got == 0 || (failed > 0) != (i > 0) {
				t.Errorf("%s: %d answers, of which %d failed; it was asked %d times, of which %d failed", name, got, failed, o.requests[name], o.requests[name+" failed"])
			}
		}
		// The run was one in which all this happened.
		for _, name := range []string{
			"error.type=taken", "error.type=unavailable", "redlock.operation=lock", "redlock.operation=try_lock",
		} {
			if sum(values, "redlock.lock.wait.duration", name) == 0 || sum(values, "redlock.lock.attempts", name) == 0 {
				t.Errorf("no call with %s", name)
			}
		}
		if attempts, calls := sum(values, "redlock.lock.attempts"), sum(values, "redlock.lock.wait.duration"); attempts <= calls {
			t.Errorf("%d attempts in %d calls", attempts, calls)
		}
		if got := sum(values, "redlock.lock.attempts") - sum(values, "redlock.lock.attempts", "error.type=taken") - sum(values, "redlock.lock.attempts", "error.type=unavailable"); got != sum(want, "redlock.lock.unlocks") {
			t.Errorf("%d attempts succeeded, and %d locks were unlocked", got, sum(want, "redlock.lock.unlocks"))
		}
		for _, name := range []string{"redlock.lock.waiters", "redlock.cleanups"} {
			if n := sum(values, name); n != 0 {
				t.Errorf("%s: %d after the end", name, n)
			}
		}
	})
}

// The gauges show what is under way now.
func TestGauges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t, []redlock.Option{redlock.WithTTL(time.Minute)})
		want := func(name string, n int, attrs ...string) {
			t.Helper()
			synctest.Wait()
			if values, _ := o.series(t); sum(values, name, attrs...) != n {
				t.Errorf("%s: %d, want %d", name, sum(values, name, attrs...), n)
			}
		}
		lock, err := o.TryLock(t.Context(), "a/1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiters sync.WaitGroup
		for range 3 {
			waiters.Go(func() { _, _ = o.Lock(ctx, "a/1") })
		}
		want("redlock.lock.waiters", 3, "redlock.key.class=a")
		cancel()
		waiters.Wait()
		want("redlock.lock.waiters", 0, "redlock.key.class=a")

		settle()
		o.set(0, 1, faulty.Refuse(nil))
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("redlock.cleanups", 1)
		o.set(0, 1)
		settle()
		want("redlock.cleanups", 0)
		_ = o.Close(t.Context())
		settle()
	})
}

// A loss is counted once, with its cause, and its hold time too. Rejoins and automatic
// extensions are counted.
func TestLossesAndRejoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t, []redlock.Option{redlock.WithTTL(3 * time.Second)})
		ctx := t.Context()
		hold := func(key string, d time.Duration) {
			_ = o.Do(ctx, key, func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				case <-time.After(d):
				}
				return nil
			})
		}
		hold("b/fine", time.Millisecond)
		time.AfterFunc(2*time.Second, o.mem[0].Flush) // one node loses it, and gets it back
		hold("a/rejoined", 4500*time.Millisecond)

		settle()
		time.AfterFunc(500*time.Millisecond, func() {
			for _, m := range o.mem {
				m.Flush()
			}
		})
		hold("a/gone", time.Minute)

		settle()
		time.AfterFunc(500*time.Millisecond, func() { o.set(0, 3, faulty.Refuse(nil)) })
		hold("a/expired", time.Minute)
		o.set(0, 3)
		settle()

		values, _ := o.series(t)
		if _, known := values["redlock.lock.losses redlock.key.class=b redlock.loss.cause=gone"]; !known {
			t.Error("the counter of losses of a class that has lost none does not exist, so the first loss would not be an increase")
		}
		for name, n := range map[string]int{
			"redlock.lock.losses redlock.key.class=a redlock.loss.cause=gone":           1,
			"redlock.lock.losses redlock.key.class=a redlock.loss.cause=expired":        1,
			"redlock.lock.losses redlock.key.class=b redlock.loss.cause=expired":        0,
			"redlock.lock.hold.duration redlock.key.class=a redlock.loss.cause=gone":    1,
			"redlock.lock.hold.duration redlock.key.class=a redlock.loss.cause=expired": 1,
			"redlock.lock.hold.duration redlock.key.class=a":                            1,
			"redlock.node.rejoins server.address=node0 server.port=6379":                1,
			"redlock.node.rejoins server.address=node1 server.port=6379":                0,
			"redlock.lock.extensions redlock.automatic=true redlock.key.class=a":        4,
		} {
			if values[name] != n {
				t.Errorf("%s: %d, want %d; all: %v", name, values[name], n, values)
			}
		}
		_ = o.Close(ctx)
		settle()
	})
}

// A moving node has no name for people, only an address that changes.
type moving struct {
	*memory.Node
	address *string
}

func (m moving) Address() (address string, instead bool) { return *m.address, true }

// A node without a name has the same series before its address is known, and after its address
// has changed.
func TestSeriesOfANodeWithoutAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		address := ""
		o := observeNodes(t, []backend.Node{moving{memory.New(), &address}}, nil)
		var first []string
		for _, address = range []string{"", "10.0.0.3:6379", "10.0.0.4:6379", "/run/redis.sock"} {
			lock, err := o.Lock(t.Context(), "a/1")
			if err != nil {
				t.Fatal(err)
			}
			if err := lock.Extend(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			values, _ := o.series(t)
			var series []string
			for name := range values {
				if strings.HasPrefix(name, "redlock.node.") {
					series = append(series, name)
				}
			}
			slices.Sort(series)
			if first == nil {
				first = series
			}
			if len(series) == 0 || !slices.Equal(series, first) {
				t.Errorf("with the address %q the series are %q, want %q", address, series, first)
			}
		}
		_ = o.Close(t.Context())
	})
}
