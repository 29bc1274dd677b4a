package tokens

import (
	"context"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// key is the lock of all clients, and counter the key of its counter.
const key, counter = "k", "k{k}:fence"

// patient makes a call wait for servers on a machine that stands still for a while.
var patient = redlock.WithNodeTimeout(600 * time.Millisecond)

// newLocker returns the Locker of client i, on its own connections and with one of the drivers in
// turn. Its locks have tokens.
func newLocker(t testing.TB, list []*servers.Server, i int, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	d := drivers.All[i%len(drivers.All)]
	var nodes []backend.Node
	for _, s := range list {
		nodes = append(nodes, d.Node(t, s.Addr()))
	}
	locker, err := redlock.New(nodes, append(opts, redlock.WithFencing())...)
	if err != nil {
		t.Fatal(err)
	}
	// must end before the driver's clients are closed
	t.Cleanup(func() { locker.Close(context.Background()) })
	return locker
}
