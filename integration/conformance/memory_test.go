package conformance

import (
	"testing"

	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// What the tests of the core run on answers as servers do.
func TestMemory(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		for _, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				if kind == servers.Embedded && d.Name == "rueidis" {
					t.Skip("embedded servers forget a script whose run failed, which no server does, and of which this adapter makes use")
				}
				node := d.Node(t, server.Addr())
				for seed := range uint64(10) {
					if err := backendtest.Compare(t.Context(), memory.New(), node, "compare:", seed, 1000); err != nil {
						t.Error(err)
					}
				}
			})
		}
	})
}
