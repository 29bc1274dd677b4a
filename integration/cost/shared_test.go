package cost

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The cheapest scripts that could share a lock: they only store what a share consists of, and
// delete it. They check nothing, so they would take a lock from its holder.
var (
	leastShare   = leastScript("share", "redis.call('SET', KEYS[1], '~shared', 'PX', ARGV[2]) redis.call('ZADD', KEYS[3], '1900000000000', ARGV[1]) return 1")
	leastUnshare = leastScript("unshare", "return redis.call('DEL', KEYS[1], KEYS[3])")
)

func leastScript(name, text string) *backend.Script {
	sum := sha1.Sum([]byte(text))
	return backend.NewScript(name, text, hex.EncodeToString(sum[:]))
}

// The cost of a shared lock at N=1 without contention. "scripts" is what "shared/plain" would be if
// the library's own part in a shared lock took no longer than in one that is not shared: then only
// the driver and the server would take longer. "floor" is the same with the cheapest scripts that
// could share a lock.
func BenchmarkSharedPair(b *testing.B) {
	for name, open := range drivers {
		b.Run(name, func(b *testing.B) {
			d := open(b, servers.Start(b, servers.Any, 1)[0].Addr()).load(b)
			ctx := context.Background()
			locker, err := redlock.New([]backend.Node{d.node})
			if err != nil {
				b.Fatal(err)
			}
			ours := func(key string, lock func(context.Context, string, ...redlock.LockOption) (*redlock.Lock, error)) func() error {
				return func() error {
					l, err := lock(ctx, key)
					if err != nil {
						return err
					}
					return l.Unlock(ctx)
				}
			}
			plain, shared := ours("plain", locker.Lock), ours("shared", locker.RLock)
			set := func() error {
				if err := d.set(ctx, "set", token); err != nil {
					return err
				}
				return d.run(ctx, lua.Release, []string{"set", "set{set}:queue"}, token)
			}
			scripts := func(key string, share, unshare *backend.Script) func() error {
				keys := []string{key, key + "{" + key + "}:queue", key + "{" + key + "}:readers"}
				for _, s := range []*backend.Script{share, unshare} { // so that the server has them
					if _, err := d.node.(backend.Scripter).Eval(ctx, s, keys, []string{token, "10000"}); err != nil {
						b.Fatal(err)
					}
				}
				return func() error {
					if err := d.run(ctx, share, keys, token, "10000"); err != nil {
						return err
					}
					return d.run(ctx, unshare, keys, token)
				}
			}
			own := scripts("own", lua.AcquireShared, lua.ReleaseShared)
			least := scripts("least", leastShare, leastUnshare)
			warm(b, plain, shared, set, own, least)
			medians := inTurn(b, plain, shared, set, own, least)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(medians[0].Nanoseconds()), "plain-ns")
			b.ReportMetric(float64(medians[1].Nanoseconds()), "shared-ns")
			b.ReportMetric(float64(medians[1])/float64(medians[0]), "shared/plain")
			b.ReportMetric(1+float64(medians[3]-medians[2])/float64(medians[0]), "scripts")
			b.ReportMetric(1+float64(medians[4]-medians[2])/float64(medians[0]), "floor")
			b.ReportMetric(testing.AllocsPerRun(200, func() { _ = plain() }), "plain-allocs")
			b.ReportMetric(testing.AllocsPerRun(200, func() { _ = shared() }), "shared-allocs")
		})
	}
}
