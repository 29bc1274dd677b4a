package cost

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// LockAll and Unlock of 8 free keys, beside those of one key, on one and on three servers. "lock-8"
// and "unlock-8" are the times of 8 keys as multiples of those of one. "floor" is what lock-8 would
// be if 8 keys cost the library no more than one: then only the driver and the server would take
// longer, for 8 SET NX PX in one batch on one server instead of a single one.
func BenchmarkLockAll(b *testing.B) {
	for _, n := range []int{1, 3} {
		for name, connect := range drivers {
			b.Run(fmt.Sprintf("N=%d/%s", n, name), func(b *testing.B) {
				var nodes []backend.Node
				for _, s := range servers.Start(b, servers.Any, n) {
					nodes = append(nodes, connect(b, s.Addr()).node)
				}
				locker, err := redlock.New(nodes)
				if err != nil {
					b.Fatal(err)
				}
				var works []func() error
				for _, keys := range [][]string{{"k0"}, {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"}} {
					ctx := context.Background()
					var locks *redlock.Locks
					lock := func() (err error) {
						locks, err = locker.LockAll(ctx, keys)
						return err
					}
					works = append(works, lock, func() error { return locks.Unlock(ctx) })
					works = append(works, batch(b, nodes[0], backend.OpSetNX, keys), batch(b, nodes[0], backend.OpEvalDelete, keys))
				}
				warm(b, works...)
				medians := inTurn(b, works...)
				b.ReportMetric(0, "ns/op") // the time of all works together, which means nothing
				b.ReportMetric(float64(medians[0].Nanoseconds()), "lock-1-ns")
				b.ReportMetric(float64(medians[4])/float64(medians[0]), "lock-8")
				b.ReportMetric(float64(medians[5])/float64(medians[1]), "unlock-8")
				b.ReportMetric(1+float64(medians[6]-medians[2])/float64(medians[0]), "floor")
			})
		}
	}
}

// batch returns a function that has the driver alone do an operation for each key, in one call.
func batch(b *testing.B, node backend.Node, kind backend.OpKind, keys []string) func() error {
	batcher, _ := backend.As[backend.Batcher](node)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	b.Cleanup(cancel)
	ops := make([]backend.Op, len(keys))
	for i, key := range keys {
		ops[i] = backend.Op{Kind: kind, Key: "driver-" + key, Token: token, TTL: ttl}
	}
	return func() error {
		var results []backend.Result
		if len(ops) == 1 {
			results = []backend.Result{ops[0].Do(ctx, node)}
		} else {
			results = batcher.Batch(ctx, ops)
		}
		for i, r := range results {
			if r.Err != nil || !r.OK {
				return fmt.Errorf("%v of %s: %v, %w", kind, keys[i], r.OK, r.Err)
			}
		}
		return nil
	}
}
