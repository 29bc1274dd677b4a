package behaviour

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// An adapter is a driver as a user has it.
type adapter struct{ drivers.Driver }

// each runs f for every adapter and every kind of server.
func each(t *testing.T, f func(t *testing.T, a adapter, kind servers.Kind)) {
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			servers.Each(t, func(t *testing.T, kind servers.Kind) { f(t, adapter{d}, kind) })
		})
	}
}

// eachInTurn runs f for every adapter and for every kind of server, but not for each pair of them.
// It is for faults below Redis, such as servers that are stopped and connections that break.
func eachInTurn(t *testing.T, f func(t *testing.T, a adapter, kind servers.Kind)) {
	kinds := servers.Kinds(t)
	for i := range max(len(drivers.All), len(kinds)) {
		d, kind := drivers.All[i%len(drivers.All)], kinds[i%len(kinds)]
		t.Run(d.Name+"/"+string(kind), func(t *testing.T) { f(t, adapter{d}, kind) })
	}
}

// eachAdapter runs f for every adapter, on servers of any kind.
func eachAdapter(t *testing.T, f func(t *testing.T, a adapter)) {
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) { f(t, adapter{d}) })
	}
}

// eachFamily runs f for one adapter of each family, on servers of any kind.
func eachFamily(t *testing.T, f func(t *testing.T, a adapter)) {
	for _, d := range drivers.OfEachFamily {
		t.Run(d.Name, func(t *testing.T) { f(t, adapter{d}) })
	}
}

// nodes returns a node for each address.
func (a adapter) nodes(t testing.TB, addrs ...string) []backend.Node {
	t.Helper()
	nodes := make([]backend.Node, len(addrs))
	for i, addr := range addrs {
		nodes[i] = a.Node(t, addr)
	}
	return nodes
}

// locker returns a Locker on the servers at addrs.
func (a adapter) locker(t testing.TB, addrs []string, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	return newLocker(t, a.nodes(t, addrs...), opts...)
}

func newLocker(t testing.TB, nodes []backend.Node, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	locker, err := redlock.New(nodes, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

// addrs returns the addresses of the servers.
func addrs(list []*servers.Server) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Addr()
	}
	return out
}

// warm locks, extends and unlocks once on nodes, and waits until all of them have answered. Then
// they have connections and know the scripts.
func warm(t testing.TB, nodes []backend.Node) {
	t.Helper()
	locker := newLocker(t, nodes)
	cycle(t, locker, "warm")
	if err := locker.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// timed returns how long f took, less the longest time for which the machine did not let this
// process run meanwhile, because a busy machine is not the library's fault.
func timed(f func()) time.Duration {
	watch := stall.Begin()
	start := time.Now()
	f()
	took := time.Since(start)
	return took - watch.End()
}

// unlessStalled runs f. If f fails while the machine was stalled for longer than margin, it runs f
// again with the next number. A broken promise is not for f to return, because nobody would learn
// of it.
func unlessStalled(t testing.TB, margin time.Duration, f func(try int) error) error {
	t.Helper()
	for try := 0; ; try++ {
		watch := stall.Begin()
		err := f(try)
		d := watch.End()
		if err == nil || d <= margin || try == 5 {
			return err
		}
		t.Logf("the machine stood still for %v, so the test repeats it: %v", d, err)
	}
}

// unsafeIf returns how a message about a broken promise begins. Then the test has failed for good,
// so broken must not be true only because the machine stood still until a lock had ended.
func unsafeIf(broken bool) string {
	if broken {
		return "unsafe: "
	}
	return ""
}

// median returns the median of durations, and the longest one.
func median(durations []time.Duration) (middle, longest time.Duration) {
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}

// eventually waits until ok returns nil. If that takes longer than within, it fails the test with
// the last error.
func eventually(t testing.TB, within time.Duration, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still after %v: %v", within, err)
			return
		}
		time.Sleep(2 * time.Millisecond) // the pause between two checks
	}
}

// receive returns the next value of c, or the zero value when c is closed. If that takes too long,
// it ends the test.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	const within = 30 * time.Second
	select {
	case v := <-c:
		return v
	case <-time.After(within):
		t.Fatalf("still after %v: no %s", within, what)
		panic("unreachable")
	}
}

// goroutinesAtMost returns an error with all stacks if there are more than that.
func goroutinesAtMost(n int) error {
	if got := runtime.NumGoroutine(); got > n {
		buf := make([]byte, 1<<20)
		return fmt.Errorf("%d goroutines, want at most %d\n%s", got, n, buf[:runtime.Stack(buf, true)])
	}
	return nil
}

// embedded reports whether the servers run in this process, as goroutines.
func embedded(t testing.TB) bool { return servers.Kinds(t)[0] == servers.Embedded }

// quorumError returns err as a *redlock.QuorumError, which it must be.
func quorumError(t testing.TB, err error) *redlock.QuorumError {
	t.Helper()
	var e *redlock.QuorumError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, a %T, want a *redlock.QuorumError", err, err)
	}
	return e
}

// free returns an error unless another Locker can lock the key.
func free(ctx context.Context, locker *redlock.Locker, key string) error {
	lock, err := locker.TryLock(ctx, key)
	if err != nil {
		return err
	}
	return lock.Unlock(ctx)
}
