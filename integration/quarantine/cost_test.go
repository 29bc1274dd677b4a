package quarantine

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A lock and its release on one server, with a quarantine and without.
func BenchmarkPair(b *testing.B) {
	realServers(b)
	for i, d := range drivers.All {
		for name, opts := range map[string][]redlock.Option{"plain": nil, "fencing": {redlock.WithFencing()}} {
			b.Run(d.Name+"/"+name, func(b *testing.B) {
				list := servers.Start(b, servers.Any, 1)
				lockers := []*redlock.Locker{
					newLocker(b, list, i, nil, opts...),
					newLocker(b, list, i, nil, append(opts[:len(opts):len(opts)], redlock.WithQuarantine(time.Minute))...),
				}
				mustEndQuarantine(b, lockers[0])
				var times [2][]time.Duration
				for b.Loop() {
					for j, l := range lockers {
						start := time.Now()
						lock, err := l.Lock(context.Background(), key)
						if err != nil {
							b.Fatal(err)
						}
						if err := lock.Unlock(context.Background()); err != nil {
							b.Fatal(err)
						}
						times[j] = append(times[j], time.Since(start))
					}
				}
				for _, d := range times {
					slices.Sort(d)
				}
				without, with := times[0][len(times[0])/2], times[1][len(times[1])/2]
				b.ReportMetric(0, "ns/op") // the time of both together, which means nothing
				b.ReportMetric(float64(without.Microseconds()), "without-µs")
				b.ReportMetric(float64(with.Microseconds()), "with-µs")
				b.ReportMetric(float64(with)/float64(without), "with/without")
			})
		}
	}
}
