package quarantine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

const (
	key    = "k"
	marker = "redlock:marker"

	ttl    = 3 * time.Second
	length = ttl + time.Second
)

// realServers skips a test that needs servers with a run_id.
func realServers(t testing.TB) {
	t.Helper()
	if servers.Kinds(t)[0] == servers.Embedded {
		t.Skip("embedded servers have no run_id, and so no quarantine")
	}
}

// fenced runs f for locks without tokens and for locks with tokens.
func fenced(t *testing.T, f func(t *testing.T, opts ...redlock.Option)) {
	t.Helper()
	for _, fencing := range []bool{false, true} {
		t.Run(fmt.Sprintf("fencing %v", fencing), func(t *testing.T) {
			opts := []redlock.Option{redlock.WithTTL(ttl)}
			if fencing {
				opts = append(opts, redlock.WithFencing())
			}
			f(t, opts...)
		})
	}
}

// newLocker returns a Locker on servers with driver i in turn. It cannot reach the servers in
// down.
func newLocker(t testing.TB, list []*servers.Server, i int, down []int, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	var nodes []backend.Node
	for j, s := range list {
		node := drivers.All[i%len(drivers.All)].Node(t, s.Addr())
		for _, d := range down {
			if d == j {
				cut := faulty.NewFaultNode(node)
				cut.Set(faulty.Refuse(nil))
				node = cut
			}
		}
		nodes = append(nodes, node)
	}
	return onNodes(t, nodes, opts...)
}

func onNodes(t testing.TB, nodes []backend.Node, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	locker, err := redlock.New(nodes, opts...)
	if err != nil {
		t.Fatal(err)
	}
	// must end before the driver's clients are closed
	t.Cleanup(func() { locker.Close(context.Background()) })
	return locker
}

// mustLock returns a lock. Its time limit allows for a busy machine.
func mustLock(t testing.TB, locker *redlock.Locker) *redlock.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*length)
	defer cancel()
	lock, err := locker.Lock(ctx, key, redlock.WithRetry(redlock.Fixed(20*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

// mustEndQuarantine ends the quarantine of the servers.
func mustEndQuarantine(t testing.TB, locker *redlock.Locker) {
	t.Helper()
	if _, err := locker.EndQuarantine(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantQuarantined fails the test unless an attempt fails because that many nodes are in
// quarantine, with the remaining time.
func wantQuarantined(t testing.TB, locker *redlock.Locker, nodes int) {
	t.Helper()
	var err error
	for range 10 { // on a busy machine, a node may take too long
		var lock *redlock.Lock
		if lock, err = locker.TryLock(t.Context(), key); err == nil {
			t.Fatalf("locked, by %v, want the quarantine of %d", lock.Report(), nodes)
		}
		var e *redlock.QuorumError
		if errors.As(err, &e) && errors.Is(err, redlock.ErrUnavailable) && e.Rounds[0].Count(redlock.Quarantined) == nodes &&
			strings.Contains(err.Error(), "quarantined: QUARANTINE for another ") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("an attempt returned %v, want the quarantine of %d", err, nodes)
}
