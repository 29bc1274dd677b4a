package cost

import (
	"context"
	"slices"
	"testing"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/redigo"
	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestMain(m *testing.M) { servers.Main(m) }

// driver is a client, a node on it, and the two commands of a lock as the driver
// alone sends them.
type driver struct {
	node backend.Node
	pair func(ctx context.Context, key, token string) error
}

const ttl = 10 * time.Second

var drivers = map[string]func(b *testing.B, addr string) driver{
	"goredis": func(b *testing.B, addr string) driver {
		client := goredisdriver.NewClient(&goredisdriver.Options{Addr: addr})
		b.Cleanup(func() { client.Close() })
		return driver{goredis.New(client), func(ctx context.Context, key, token string) error {
			if err := client.SetNX(ctx, key, token, ttl).Err(); err != nil {
				return err
			}
			return client.EvalSha(ctx, lua.Delete.Hash(), []string{key}, token).Err()
		}}
	},
	"redigo": func(b *testing.B, addr string) driver {
		pool := &redigodriver.Pool{
			MaxIdle: 3,
			Dial:    func() (redigodriver.Conn, error) { return redigodriver.Dial("tcp", addr) },
		}
		b.Cleanup(func() { pool.Close() })
		do := func(command string, args ...any) error {
			conn := pool.Get()
			defer conn.Close()
			_, err := conn.Do(command, args...)
			return err
		}
		return driver{redigo.New(pool), func(_ context.Context, key, token string) error {
			if err := do("SET", key, token, "NX", "PX", ttl.Milliseconds()); err != nil {
				return err
			}
			return do("EVALSHA", lua.Delete.Hash(), 1, key, token)
		}}
	},
	"rueidis": func(b *testing.B, addr string) driver {
		client, err := rueidisdriver.NewClient(rueidisdriver.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.Close)
		return driver{rueidisnode.New(client), func(ctx context.Context, key, token string) error {
			set := client.B().Set().Key(key).Value(token).Nx().PxMilliseconds(ttl.Milliseconds()).Build()
			if err := client.Do(ctx, set).Error(); err != nil {
				return err
			}
			return client.Do(ctx, client.B().Evalsha().Sha1(lua.Delete.Hash()).Numkeys(1).Key(key).Arg(token).Build()).Error()
		}}
	},
}

// A lock and its release at N=1 without contention, against the driver's own two
// commands. The allocations are those of a pair of both.
func BenchmarkPair(b *testing.B) {
	for name, open := range drivers {
		b.Run(name, func(b *testing.B) {
			d := open(b, servers.Start(b, servers.Any, 1)[0].Addr())
			locker, err := redlock.New([]backend.Node{d.node})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			ours := func() error {
				lock, err := locker.Lock(ctx, "k")
				if err != nil {
					return err
				}
				return lock.Unlock(ctx)
			}
			raw := func() error { return d.pair(ctx, "k", "0123456789abcdef0123456789") }
			for range 50 {
				if err := ours(); err != nil {
					b.Fatal(err)
				}
			}
			rawAllocs := testing.AllocsPerRun(200, func() { _ = raw() })
			ourAllocs := testing.AllocsPerRun(200, func() { _ = ours() })

			var times [2][]time.Duration
			for b.Loop() {
				for i, f := range []func() error{raw, ours} {
					start := time.Now()
					if err := f(); err != nil {
						b.Fatal(err)
					}
					times[i] = append(times[i], time.Since(start))
				}
			}
			control, took := middle(times[0]), middle(times[1])
			b.ReportMetric(0, "ns/op") // of both together, which says nothing
			b.ReportMetric(float64(control.Nanoseconds()), "raw-ns")
			b.ReportMetric(float64(took.Nanoseconds()), "lock-ns")
			b.ReportMetric(float64(took)/float64(control), "lock/raw")
			b.ReportMetric(rawAllocs, "raw-allocs")
			b.ReportMetric(ourAllocs, "lock-allocs")
		})
	}
}

func middle(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
