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

// LockAll and Unlock of 8 free keys, beside those of one key, on one and on three servers. The
// calls alternate, so that what else the machine does meets both. "ratio" is the time of 8 keys as
// a multiple of that of one.
func BenchmarkLockAll(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("N=%d", n), func(b *testing.B) {
			var nodes []backend.Node
			for _, s := range servers.Start(b, servers.Any, n) {
				nodes = append(nodes, drivers["goredis"](b, s.Addr()).node)
			}
			locker, err := redlock.New(nodes)
			if err != nil {
				b.Fatal(err)
			}
			sets := [2][]string{{"k0"}}
			for i := range 8 {
				sets[1] = append(sets[1], fmt.Sprint("k", i))
			}
			ctx := context.Background()
			var locking, all [2]time.Duration
			cycle := func() {
				for i, keys := range sets {
					start := time.Now()
					locks, err := locker.LockAll(ctx, keys)
					if err != nil {
						b.Fatal(err)
					}
					locking[i] += time.Since(start)
					if err := locks.Unlock(ctx); err != nil {
						b.Fatal(err)
					}
					all[i] += time.Since(start)
				}
			}
			for range 100 {
				cycle()
			}
			locking, all = [2]time.Duration{}, [2]time.Duration{}
			for b.Loop() {
				cycle()
			}
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
			b.ReportMetric(per(all[0]), "µs/1-key")
			b.ReportMetric(per(all[1]), "µs/8-keys")
			b.ReportMetric(float64(locking[1])/float64(locking[0]), "lock-ratio")
			b.ReportMetric(float64(all[1])/float64(all[0]), "ratio")
		})
	}
}
