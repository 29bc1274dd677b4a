package testnodes

import (
	"context"
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// A BusyMeter counts the calls that are under way.
type BusyMeter struct{ Now, Most, Calls, Ops, MostOps atomic.Int64 }

// Fault counts the calls of a node.
func (m *BusyMeter) Fault(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	raise(&m.Most, m.Now.Add(1))
	raise(&m.MostOps, int64(len(ops)))
	m.Calls.Add(1)
	m.Ops.Add(int64(len(ops)))
	defer m.Now.Add(-1)
	return next(ctx, ops)
}

func raise(most *atomic.Int64, to int64) {
	for {
		old := most.Load()
		if to <= old || most.CompareAndSwap(old, to) {
			return
		}
	}
}
