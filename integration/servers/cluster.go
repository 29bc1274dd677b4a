package servers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/integration/internal/port"
)

// slots is how many hash slots a Cluster has.
const slots = 16384

// A Cluster is a Redis Cluster of masters without replicas.
type Cluster struct {
	Nodes []*Server
}

// StartCluster gives the test a Cluster of three masters, once each of them says
// that it is whole. A node that is down is not replaced: its slots are without a
// server, and the others answer for theirs. The test is skipped, with the reason,
// where the rung cannot run one.
func StartCluster(t testing.TB, kind Kind) *Cluster {
	t.Helper()
	const n = 3
	h := use(t)
	kind = h.pick(t, kind)
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()

	buses := make([]int, n)
	for i := range buses {
		var err error
		if buses[i], err = port.Take(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := h.startGroup(ctx, t, kind, n, func([]int) []spec {
		specs := make([]spec, n)
		for i := range specs {
			specs[i] = spec{kind: kind, args: []string{
				"--cluster-enabled", "yes",
				"--cluster-announce-ip", "127.0.0.1",
				"--cluster-port", strconv.Itoa(buses[i]),
				"--cluster-node-timeout", "2000",
				"--cluster-require-full-coverage", "no",
			}}
		}
		return specs
	}, nil)
	t.Cleanup(func() {
		for _, p := range buses {
			port.Give(p)
		}
	})
	orSkip(t, err)

	c := &Cluster{Nodes: list}
	orSkip(t, c.join(ctx, buses))
	return c
}

// join makes a Cluster of nodes that do not know each other.
func (c *Cluster) join(ctx context.Context, buses []int) error {
	n := len(c.Nodes)
	err := concurrently(n, func(i int) error {
		_, err := c.Nodes[i].roundTrip(ctx,
			[]string{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)}, // else they clash, and must settle it
			[]string{"CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots * i / n), strconv.Itoa(slots*(i+1)/n - 1)})
		return err
	})
	if err != nil {
		return err
	}
	var meet [][]string
	for i, node := range c.Nodes[1:] {
		meet = append(meet, []string{"CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port), strconv.Itoa(buses[i+1])})
	}
	if _, err := c.Nodes[0].roundTrip(ctx, meet...); err != nil {
		return err
	}
	return c.whole(ctx)
}

func (c *Cluster) whole(ctx context.Context) error {
	return concurrently(len(c.Nodes), func(i int) error {
		return until(ctx, func() error {
			info, err := c.Nodes[i].Query(ctx, "CLUSTER", "INFO")
			text := fmt.Sprint(info)
			for _, want := range []string{
				"cluster_state:ok", "cluster_slots_ok:" + strconv.Itoa(slots), "cluster_known_nodes:" + strconv.Itoa(len(c.Nodes)),
			} {
				if err == nil && !strings.Contains(text, want+"\r\n") {
					err = errors.New(text)
				}
			}
			return err
		})
	})
}

// WaitWhole waits until every node knows all the others and serves all slots, as
// after a node that was down has been started.
func (c *Cluster) WaitWhole(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()
	if err := c.whole(ctx); err != nil {
		t.Fatalf("servers: the cluster is not whole: %v", err)
	}
}

// Addrs returns the addresses of the nodes.
func (c *Cluster) Addrs() []string { return addrs(c.Nodes) }

// NodeOf returns the node that serves key.
func (c *Cluster) NodeOf(t testing.TB, key string) *Server {
	t.Helper()
	for _, node := range c.Nodes {
		slot, err := node.Query(context.Background(), "CLUSTER", "KEYSLOT", key)
		if err != nil {
			continue // it is down or paused
		}
		for i := range c.Nodes {
			if slot.(int64) < int64(slots*(i+1)/len(c.Nodes)) {
				return c.Nodes[i]
			}
		}
	}
	t.Fatalf("servers: no node of the cluster answers")
	return nil
}

// Keys returns the keys of all nodes that are up.
func (c *Cluster) Keys(t testing.TB) []string {
	t.Helper()
	var keys []string
	for _, node := range c.Nodes {
		if node.up() {
			keys = append(keys, node.Keys(t)...)
		}
	}
	return keys
}
