package waiting

import (
	"flag"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that are parallel wait more than they work.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	servers.Main(m)
}

// What is documented of waiting, and claims here go by.
const (
	// grace is for how long a lock is reserved for a waiter that was called, where
	// the network is fast.
	grace = 20 * time.Millisecond

	// lookAgain is after how long the first of a queue looks for itself, at most,
	// though nobody called it.
	lookAgain = 2500 * time.Millisecond
)

// realServers skips a test that needs what embedded servers do not have.
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
