package conformance

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/check"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/scripttest"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

func TestAdapters(t *testing.T) {
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel() // because it mostly waits
			servers.Each(t, func(t *testing.T, kind servers.Kind) {
				if kind == servers.Embedded && d.Family() == "rueidis" {
					t.Skip("embedded servers forget a script whose run failed; real servers do not, and this adapter relies on that")
				}
				backendtest.Run(t, harness(t, d, kind))
			})
		})
	}
}

// A whole Cluster or Sentinel set counts as one node.
func TestTopologies(t *testing.T) {
	for _, d := range drivers.All {
		if d.Cluster != nil {
			t.Run(d.Name+"/cluster", func(t *testing.T) {
				cluster := servers.StartCluster(t, servers.Any)
				h := onCluster(t, cluster)
				h.New = backendtest.Reuse(d.Cluster(t, cluster.Addrs()))
				backendtest.Run(t, h)
			})
		}
		if d.Sentinel != nil {
			t.Run(d.Name+"/sentinel", func(t *testing.T) {
				set := servers.StartSentinel(t, servers.Any, 1)
				backendtest.Run(t, withServer(backendtest.Harness{
					New: backendtest.Reuse(d.Sentinel(t, set.Addrs(), set.Name)),
				}, set.Master))
			})
		}
	}
}

// The meaning of the scripts depends only on the server. So one driver is enough, on every kind
// of server and on one Cluster. [TestAdapters] checks how adapters handle scripts.
func TestScripts(t *testing.T) {
	d := drivers.All[0]
	run := func(t *testing.T, h backendtest.Harness) {
		scripttest.Run(t, check.Server{New: h.New, Set: h.Set, SetOther: h.SetOther})
	}
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		run(t, withServer(backendtest.Harness{New: backendtest.Reuse(d.Node(t, server.Addr()))}, server))
	})
	t.Run("cluster", func(t *testing.T) {
		cluster := servers.StartCluster(t, servers.Any)
		h := onCluster(t, cluster)
		h.New = backendtest.Reuse(d.Cluster(t, cluster.Addrs()))
		run(t, h)
	})
}

// harness returns the harness for a node behind a proxy.
func harness(t *testing.T, d drivers.Driver, kind servers.Kind) backendtest.Harness {
	server := servers.Start(t, kind, 1)[0]
	proxied := false
	h := backendtest.NewHarness(t, server.Addr(), func(addr string) backend.Node {
		if !proxied {
			proxied = true
			return d.Node(t, addr)
		}
		// The helper's clients connect at the first use, even if the driver's own connect when
		// they are made.
		return d.FromURL(t, "redis://"+addr)
	})
	h.Slow = kind == servers.Kinds(t)[0] // once for each adapter
	return h
}

// withServer adds to h what other clients of a server can do.
func withServer(h backendtest.Harness, server *servers.Server) backendtest.Harness {
	h.Set = func(ctx context.Context, _ backend.Node, key, value string, ttl time.Duration) error {
		return set(ctx, server, key, value, ttl)
	}
	h.SetOther = func(ctx context.Context, _ backend.Node, key string) error {
		_, err := server.Query(ctx, "RPUSH", key, "element")
		return err
	}
	h.FlushScripts = func(ctx context.Context, _ backend.Node) error {
		_, err := server.Query(ctx, "SCRIPT", "FLUSH")
		return err
	}
	h.HasScript = func(ctx context.Context, _ backend.Node, hash string) (bool, error) {
		return hasScript(ctx, server, hash)
	}
	h.Publish = func(ctx context.Context, _ backend.Node, channel, payload string) error {
		_, err := server.Query(ctx, "PUBLISH", channel, payload)
		return err
	}
	return h
}

// onCluster returns a harness that has no node yet, only what other clients of a Cluster can do.
func onCluster(t *testing.T, cluster *servers.Cluster) backendtest.Harness {
	return backendtest.Harness{
		Set: func(ctx context.Context, _ backend.Node, key, value string, ttl time.Duration) error {
			return set(ctx, cluster.NodeOf(t, key), key, value, ttl)
		},
		SetOther: func(ctx context.Context, _ backend.Node, key string) error {
			_, err := cluster.NodeOf(t, key).Query(ctx, "RPUSH", key, "element")
			return err
		},
		FlushScripts: func(ctx context.Context, _ backend.Node) error {
			for _, s := range cluster.Nodes {
				if _, err := s.Query(ctx, "SCRIPT", "FLUSH"); err != nil {
					return err
				}
			}
			return nil
		},
		HasScript: func(ctx context.Context, _ backend.Node, hash string) (bool, error) {
			for _, s := range cluster.Nodes {
				if known, err := hasScript(ctx, s, hash); known || err != nil {
					return known, err
				}
			}
			return false, nil
		},
		Publish: func(ctx context.Context, _ backend.Node, channel, payload string) error {
			_, err := cluster.Nodes[0].Query(ctx, "PUBLISH", channel, payload)
			return err
		},
	}
}

func hasScript(ctx context.Context, server *servers.Server, hash string) (bool, error) {
	known, err := server.Query(ctx, "SCRIPT", "EXISTS", hash)
	if err != nil {
		return false, err
	}
	return slices.Equal(known.([]any), []any{int64(1)}), nil
}

func set(ctx context.Context, server *servers.Server, key, value string, ttl time.Duration) error {
	args := []any{"SET", key, value}
	if ttl != backend.NoExpiry {
		args = append(args, "PX", adapterkit.Milliseconds(ttl))
	}
	_, err := server.Query(ctx, args...)
	return err
}
