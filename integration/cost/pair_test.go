package cost

import (
	"context"
	"slices"
	"strconv"
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

// driver is a client, a node on it, and the commands that a lock takes if the driver alone sends
// them.
type driver struct {
	node backend.Node
	set  func(ctx context.Context, key, token string) error
	run  func(ctx context.Context, s *backend.Script, keys []string, args ...string) error
}

// load stores the script that deletes on the server, so that its hash works.
func (d driver) load(b *testing.B) driver {
	b.Helper()
	if _, err := d.node.EvalDelete(context.Background(), "k", token); err != nil {
		b.Fatal(err)
	}
	return d
}

// pair takes the lock with SET or in another way, and deletes it.
func (d driver) pair(ctx context.Context, key, token string, take func() error) error {
	if err := take(); err != nil {
		return err
	}
	return d.run(ctx, lua.Delete, []string{key}, token)
}

const ttl = 10 * time.Second

// drivers is one driver of each family.
var drivers = map[string]func(b *testing.B, addr string) driver{
	"goredis": func(b *testing.B, addr string) driver {
		client := goredisdriver.NewClient(&goredisdriver.Options{Addr: addr})
		b.Cleanup(func() { client.Close() })
		return driver{
			node: goredis.New(client),
			set: func(ctx context.Context, key, token string) error {
				return client.SetNX(ctx, key, token, ttl).Err()
			},
			run: func(ctx context.Context, s *backend.Script, keys []string, args ...string) error {
				rest := make([]any, len(args))
				for i, arg := range args {
					rest[i] = arg
				}
				return client.EvalSha(ctx, s.Hash(), keys, rest...).Err()
			},
		}
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
		return driver{
			node: redigo.New(pool),
			set: func(_ context.Context, key, token string) error {
				return do("SET", key, token, "NX", "PX", ttl.Milliseconds())
			},
			run: func(_ context.Context, s *backend.Script, keys []string, args ...string) error {
				rest := append(make([]any, 0, 2+len(keys)+len(args)), s.Hash(), len(keys))
				for _, list := range [][]string{keys, args} {
					for _, arg := range list {
						rest = append(rest, arg)
					}
				}
				return do("EVALSHA", rest...)
			},
		}
	},
	"rueidis": func(b *testing.B, addr string) driver {
		client, err := rueidisdriver.NewClient(rueidisdriver.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.Close)
		return driver{
			node: rueidisnode.New(client),
			set: func(ctx context.Context, key, token string) error {
				return client.Do(ctx, client.B().Set().Key(key).Value(token).Nx().PxMilliseconds(ttl.Milliseconds()).Build()).Error()
			},
			run: func(ctx context.Context, s *backend.Script, keys []string, args ...string) error {
				return client.Do(ctx, client.B().Evalsha().Sha1(s.Hash()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).Error()
			},
		}
	},
}

// A lock and its release at N=1 without contention, compared with the driver's own two commands.
// The allocations are those of both pairs together.
func BenchmarkPair(b *testing.B) {
	for name, open := range drivers {
		b.Run(name, func(b *testing.B) {
			d := open(b, servers.Start(b, servers.Any, 1)[0].Addr()).load(b)
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
			raw := func() error {
				return d.pair(ctx, "k", token, func() error { return d.set(ctx, "k", token) })
			}
			warm(b, raw, ours)
			rawAllocs := testing.AllocsPerRun(200, func() { _ = raw() })
			ourAllocs := testing.AllocsPerRun(200, func() { _ = ours() })

			medians := inTurn(b, raw, ours)
			control, took := medians[0], medians[1]
			b.ReportMetric(0, "ns/op") // the time of both pairs together, which means nothing
			b.ReportMetric(float64(control.Nanoseconds()), "raw-ns")
			b.ReportMetric(float64(took.Nanoseconds()), "lock-ns")
			b.ReportMetric(float64(took)/float64(control), "lock/raw")
			b.ReportMetric(rawAllocs, "raw-allocs")
			b.ReportMetric(ourAllocs, "lock-allocs")
		})
	}
}

// The cost of a fencing token at N=1 without contention. A vote is a script, while a lock without
// a token is one command. The floor is the time of a pair if that cost only the driver and the
// server more, and not this library.
func BenchmarkFencedPair(b *testing.B) {
	for name, open := range drivers {
		b.Run(name, func(b *testing.B) {
			d := open(b, servers.Start(b, servers.Any, 1)[0].Addr()).load(b)
			ctx := context.Background()
			ours := func(key string, opts ...redlock.Option) func() error {
				locker, err := redlock.New([]backend.Node{d.node}, opts...)
				if err != nil {
					b.Fatal(err)
				}
				return func() error {
					lock, err := locker.Lock(ctx, key)
					if err != nil {
						return err
					}
					return lock.Unlock(ctx)
				}
			}
			plain, fenced := ours("plain"), ours("fenced", redlock.WithFencing())
			set := func() error {
				return d.pair(ctx, "set", token, func() error { return d.set(ctx, "set", token) })
			}
			keys := []string{"vote", "vote{vote}:fence", "vote{vote}:gone:" + token}
			vote := func() error {
				return d.pair(ctx, "vote", token, func() error {
					return d.run(ctx, lua.Vote, keys, token, "10000", strconv.FormatInt(time.Now().UnixMicro(), 10), "86400000")
				})
			}
			warm(b, plain, fenced, set, vote)
			medians := inTurn(b, plain, fenced, set, vote)
			b.ReportMetric(0, "ns/op")
			for i, unit := range []string{"plain-ns", "fenced-ns", "set-ns", "vote-ns"} {
				b.ReportMetric(float64(medians[i].Nanoseconds()), unit)
			}
			b.ReportMetric(float64(medians[1])/float64(medians[0]), "fenced/plain")
			b.ReportMetric(1+float64(medians[3]-medians[2])/float64(medians[0]), "floor")
		})
	}
}

const token = "0123456789abcdef0123456789"

// warm does the measured work a few times in advance.
func warm(b *testing.B, pairs ...func() error) {
	for range 50 {
		for _, f := range pairs {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// inTurn does each pair once in each round, and returns the median time of each.
func inTurn(b *testing.B, pairs ...func() error) []time.Duration {
	times := make([][]time.Duration, len(pairs))
	for b.Loop() {
		for i, f := range pairs {
			start := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	medians := make([]time.Duration, len(pairs))
	for i := range times {
		slices.Sort(times[i])
		medians[i] = times[i][len(times[i])/2]
	}
	return medians
}
