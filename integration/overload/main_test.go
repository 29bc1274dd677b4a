//go:build unix

package overload

import (
	"context"
	"os"
	"strings"
	"testing"

	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		goredisdriver.SetLogger(silent{}) // it logs each failure to connect
		os.Exit(runChild(name))
	}
	long.Package(m)
	servers.Main(m)
}

// silent is a logger of go-redis that logs nothing.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// full reports whether the tests run at full size.
func full() bool { return os.Getenv("QUORUMLOCK_OVERLOAD") == "full" }

// sized returns the value for the size that the tests run at.
func sized[T any](small, large T) T {
	if full() {
		return large
	}
	return small
}

// reduced returns n, or half of it at small size under the race detector, which
// makes the process several times slower. The test's log says so.
func reduced(t *testing.T, n int) int {
	t.Helper()
	if raceDetector && !full() {
		t.Logf("the race detector is on: %d instead of %d", n/2, n)
		return n / 2
	}
	return n
}

// realServers returns n servers. The test is skipped where servers are embedded.
// A test's clients end with its child, so servers can go on to the next test.
func realServers(t *testing.T, n int, opts ...servers.Option) []*servers.Server {
	t.Helper()
	if servers.Kinds(t)[0] == servers.Embedded {
		t.Skip("embedded servers share the CPU and memory of the test")
	}
	return servers.Start(t, servers.Any, n, opts...)
}

func addrsOf(list []*servers.Server) []string {
	var addrs []string
	for _, s := range list {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// adapters returns the names of the adapters to test: those that the environment
// selects, else one adapter of each family at small size if all is true, else goredis.
func adapters(t *testing.T, all bool) []string {
	t.Helper()
	names := os.Getenv("QUORUMLOCK_OVERLOAD_ADAPTER")
	if names == "" && all && !full() {
		names = "all"
	}
	switch names {
	case "":
		return []string{"goredis"}
	case "all":
		return []string{"goredis", "redigo", "rueidis"}
	}
	list := strings.Split(names, ",")
	for _, name := range list {
		if openers[name] == nil {
			t.Fatalf("QUORUMLOCK_OVERLOAD_ADAPTER: no adapter is named %q", name)
		}
	}
	return list
}
