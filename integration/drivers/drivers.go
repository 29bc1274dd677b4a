// Package drivers makes nodes with every adapter, for tests that must pass with all of them.
package drivers

import (
	"slices"
	"testing"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"
	valkeydriver "github.com/valkey-io/valkey-go"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/redigo"
	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	valkeynode "github.com/quorumlock/quorumlock/backend/valkey"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// A Driver makes nodes with one driver. All settings except the address are the driver's
// defaults, so that no test depends on a setting. Everything that it makes is closed when the
// test ends.
type Driver struct {
	Name string

	// Node makes a node of the server at addr. FromURL does the same with the adapter's own
	// helper, also for a Sentinel set or a Cluster if the driver supports it.
	Node, FromURL func(t testing.TB, where string) backend.Node

	// Cluster makes one node of a whole Cluster, and Sentinel one of a Sentinel set. They are nil
	// if the driver does not support it.
	Cluster  func(t testing.TB, addrs []string) backend.Node
	Sentinel func(t testing.TB, addrs []string, master string) backend.Node
}

// Family returns a name for the adapters that have the same code. It is "rueidis" for rueidis
// and for valkey, which scripts/valkey makes from it. For any other adapter it is the adapter's
// own name.
func (d Driver) Family() string {
	if d.Name == "valkey" {
		return "rueidis"
	}
	return d.Name
}

// All lists every adapter of this repository.
var All = []Driver{
	{
		Name: "goredis",
		Node: func(t testing.TB, addr string) backend.Node {
			return goRedis(t, goredisdriver.NewClient(&goredisdriver.Options{Addr: addr}), nil)
		},
		FromURL: func(t testing.TB, url string) backend.Node {
			client, err := goredis.NewUniversalClient(url)
			return goRedis(t, client, err)
		},
		Cluster: func(t testing.TB, addrs []string) backend.Node {
			return goRedis(t, goredisdriver.NewClusterClient(&goredisdriver.ClusterOptions{Addrs: addrs}), nil)
		},
		Sentinel: func(t testing.TB, addrs []string, master string) backend.Node {
			return goRedis(t, goredisdriver.NewFailoverClient(&goredisdriver.FailoverOptions{
				MasterName: master, SentinelAddrs: addrs,
			}), nil)
		},
	},
	{
		Name: "redigo",
		Node: func(t testing.TB, addr string) backend.Node {
			return reDigo(t, &redigodriver.Pool{
				MaxIdle: 3,
				Dial:    func() (redigodriver.Conn, error) { return redigodriver.Dial("tcp", addr) },
			}, nil, redigo.WithName(addr))
		},
		FromURL: func(t testing.TB, url string) backend.Node {
			pool, err := redigo.NewPool(url)
			return reDigo(t, pool, err)
		},
	},
	{
		Name: "rueidis",
		Node: func(t testing.TB, addr string) backend.Node {
			return Rueidis(t, rueidisdriver.ClientOption{
				InitAddress: []string{addr}, ForceSingleClient: true,
			}, rueidisnode.WithName(addr))
		},
		FromURL: func(t testing.TB, url string) backend.Node {
			client, err := rueidisnode.NewClient(url)
			return ruei(t, client, err)
		},
		Cluster: func(t testing.TB, addrs []string) backend.Node {
			return Rueidis(t, rueidisdriver.ClientOption{InitAddress: addrs})
		},
		Sentinel: func(t testing.TB, addrs []string, master string) backend.Node {
			return Rueidis(t, rueidisdriver.ClientOption{
				InitAddress: addrs, Sentinel: rueidisdriver.SentinelOption{MasterSet: master},
			})
		},
	},
	{
		Name: "valkey",
		Node: func(t testing.TB, addr string) backend.Node {
			return Valkey(t, valkeydriver.ClientOption{
				InitAddress: []string{addr}, ForceSingleClient: true,
			}, valkeynode.WithName(addr))
		},
		FromURL: func(t testing.TB, url string) backend.Node {
			client, err := valkeynode.NewClient(url)
			return valk(t, client, err)
		},
		Cluster: func(t testing.TB, addrs []string) backend.Node {
			return Valkey(t, valkeydriver.ClientOption{InitAddress: addrs})
		},
		Sentinel: func(t testing.TB, addrs []string, master string) backend.Node {
			return Valkey(t, valkeydriver.ClientOption{
				InitAddress: addrs, Sentinel: valkeydriver.SentinelOption{MasterSet: master},
			})
		},
	},
}

// OfEachFamily lists one adapter of each family. It is for tests that take long, and whose result
// depends on the code of an adapter and its driver but not on their names.
var OfEachFamily = slices.DeleteFunc(slices.Clone(All), func(d Driver) bool { return d.Name != d.Family() })

// GoRedis makes a node with go-redis.
func GoRedis(t testing.TB, o goredisdriver.Options) backend.Node {
	return goRedis(t, goredisdriver.NewClient(&o), nil)
}

// Redigo makes a node with redigo.
func Redigo(t testing.TB, pool *redigodriver.Pool) backend.Node { return reDigo(t, pool, nil) }

// Rueidis makes a node with rueidis.
func Rueidis(t testing.TB, o rueidisdriver.ClientOption, opts ...rueidisnode.Option) backend.Node {
	// Embedded servers lack what the driver's cache needs when it connects.
	o.DisableCache = servers.AreEmbedded()
	client, err := rueidisdriver.NewClient(o)
	return ruei(t, client, err, opts...)
}

// Valkey makes a node with valkey-go.
func Valkey(t testing.TB, o valkeydriver.ClientOption, opts ...valkeynode.Option) backend.Node {
	o.DisableCache = servers.AreEmbedded() // as above
	client, err := valkeydriver.NewClient(o)
	return valk(t, client, err, opts...)
}

func goRedis(t testing.TB, client goredisdriver.UniversalClient, err error) backend.Node {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return goredis.New(client)
}

func reDigo(t testing.TB, pool *redigodriver.Pool, err error, opts ...redigo.Option) backend.Node {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return redigo.New(pool, opts...)
}

func ruei(t testing.TB, client rueidisdriver.Client, err error, opts ...rueidisnode.Option) backend.Node {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return rueidisnode.New(client, opts...)
}

func valk(t testing.TB, client valkeydriver.Client, err error, opts ...valkeynode.Option) backend.Node {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return valkeynode.New(client, opts...)
}
