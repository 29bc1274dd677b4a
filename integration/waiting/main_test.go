package waiting

import (
	"flag"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestMain(m *testing.M) {
	flag.Parse()
	long.Package(m)
	// Parallel tests wait more than they work.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	servers.Main(m)
}

// Documented times of waiting, which tests use as bounds.
const (
	// grace is the time for which a lock is reserved for a notified waiter on a fast network.
	grace = 20 * time.Millisecond

	// lookAgain is the longest time until the first waiter in a queue looks without a
	// notification.
	lookAgain = 2500 * time.Millisecond
)

// realServers skips a test that needs something that embedded servers lack.
func realServers(t testing.TB, what string) {
	t.Helper()
	if servers.Kinds(t)[0] == servers.Embedded {
		t.Skipf("embedded servers have no %s", what)
	}
}

// eachAdapter runs f for every adapter.
func eachAdapter(t *testing.T, f func(t *testing.T, d drivers.Driver)) {
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) { f(t, d) })
	}
}

// nodesOf returns a node of d for each address.
func nodesOf(t testing.TB, d drivers.Driver, addrs []string) []backend.Node {
	t.Helper()
	var nodes []backend.Node
	for _, addr := range addrs {
		nodes = append(nodes, d.Node(t, addr))
	}
	return nodes
}

func newLocker(t testing.TB, nodes []backend.Node, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	locker, err := redlock.New(nodes, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

func addrsOf(list []*servers.Server) []string {
	var addrs []string
	for _, s := range list {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}
