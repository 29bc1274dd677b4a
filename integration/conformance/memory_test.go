package conformance

import (
	"flag"
	"testing"

	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/scripttest"
)

var (
	seeds     = flag.Uint64("seeds", 60, "how many seeds TestMemory uses on each kind of server")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
)

// The node in memory, on which the tests of the core run, answers as servers do. Many short runs
// find more than a few long ones, because a strange key stays strange for a whole run. Each
// driver takes the seeds whose remainder is its index.
func TestMemory(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		for i, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				if kind == servers.Embedded && d.Family() == "rueidis" {
					t.Skip("embedded servers forget a script whose run failed; real servers do not, and this adapter relies on that")
				}
				node := d.Node(t, server.Addr())
				for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
					if int(seed)%len(drivers.All) != i {
						continue
					}
					if err := scripttest.Compare(t.Context(), memory.New(), node, "compare:", seed, 500); err != nil {
						t.Errorf("%v\nrun it again with go test ./conformance -run TestMemory -args -seeds 1 -seed %d", err, seed)
					}
				}
			})
		}
	})
}
