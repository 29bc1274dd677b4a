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
	seeds     = flag.Uint64("seeds", 60, "how many seeds TestMemory tries on each kind of server")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
)

// What the tests of the core run on answers as servers do. Many short runs see more than
// a few long ones, in which what is odd about a key stays so. Every driver has the seeds that
// leave its place as the remainder.
func TestMemory(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		for i, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				if kind == servers.Embedded && d.Name == "rueidis" {
					t.Skip("embedded servers forget a script whose run failed, which no server does, and of which this adapter makes use")
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
