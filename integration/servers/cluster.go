package servers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/internal/port"
)

// slots is the number of hash slots of a Cluster.
const slots = 16384

// A Cluster is a Redis Cluster of masters without replicas, until a test adds some.
type Cluster struct {
	Nodes  []*Server // its members; at first the masters, each with an equal range of slots
	Spares []*Server // servers in Cluster mode that are not members
	buses  map[*Server]int
}

// StartCluster gives the test a Cluster of three masters, plain or [WithTLS], when each of them
// reports that it is complete. A node that is down is not replaced: its slots are unavailable,
// and the other nodes serve theirs. If the rung cannot run a Cluster, the test is skipped with
// the reason.
func StartCluster(t testing.TB, kind Kind, opts ...Option) *Cluster {
	t.Helper()
	return StartClusterWithSpares(t, kind, 0, opts...)
}

// StartClusterWithSpares is StartCluster with that many additional servers that can join it.
func StartClusterWithSpares(t testing.TB, kind Kind, spares int, opts ...Option) *Cluster {
	t.Helper()
	const masters = 3
	n := masters + spares
	h := use(t)
	kind = h.pick(t, kind)
	if kind.Before(7, 0) {
		t.Skipf("servers: %s: the bus of %s is always 10000 above its port, which may be taken", t.Name(), kind)
	}
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
			s := newSpec(kind, opts)
			s.args = append(s.args,
				"--cluster-enabled", "yes",
				"--cluster-announce-ip", "127.0.0.1",
				"--cluster-port", strconv.Itoa(buses[i]),
				"--cluster-node-timeout", "2000",
				"--cluster-require-full-coverage", "no")
			if s.tls != nil {
				s.args = append(append(s.args, s.peers()...), "--tls-cluster", "yes")
			}
			specs[i] = s
		}
		return specs
	}, nil)
	t.Cleanup(func() {
		for _, p := range buses {
			port.Give(p)
		}
	})
	orSkip(t, err)

	c := &Cluster{Nodes: list[:masters:masters], Spares: list[masters:], buses: make(map[*Server]int)}
	for i, node := range list {
		c.buses[node] = buses[i]
	}
	orSkip(t, c.join(ctx))
	return c
}

// join makes a Cluster of nodes that do not know each other.
func (c *Cluster) join(ctx context.Context) error {
	n := len(c.Nodes)
	err := concurrently(n, func(i int) error {
		_, err := c.Nodes[i].roundTrip(ctx,
			[]string{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)}, // otherwise the epochs conflict, and the nodes must resolve that
			[]string{"CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots * i / n), strconv.Itoa(slots*(i+1)/n - 1)})
		return err
	})
	if err != nil {
		return err
	}
	var meet [][]string
	for _, node := range c.Nodes[1:] {
		meet = append(meet, c.meet(node))
	}
	if _, err := c.Nodes[0].roundTrip(ctx, meet...); err != nil {
		return err
	}
	return c.whole(ctx)
}

func (c *Cluster) meet(node *Server) []string {
	return []string{"CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port), strconv.Itoa(c.buses[node])}
}

// AddMaster makes the first spare server join as a master without slots. It returns the server
// once all members know it.
func (c *Cluster) AddMaster(t testing.TB) *Server {
	t.Helper()
	if len(c.Spares) == 0 {
		t.Fatal("servers: the cluster has no spare server")
	}
	node := c.Spares[0]
	c.Nodes, c.Spares = append(c.Nodes, node), c.Spares[1:]
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()
	if _, err := c.Nodes[0].roundTrip(ctx, c.meet(node)); err != nil {
		t.Fatalf("servers: join the cluster: %v", err)
	}
	c.WaitWhole(t)
	return node
}

// AddReplica makes the first spare server join as a replica of master. It returns the server once
// it has the master's data.
func (c *Cluster) AddReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	node := c.AddMaster(t)
	node.Do(t, "CLUSTER", "REPLICATE", master.Do(t, "CLUSTER", "MYID"))
	c.await(t, "the replica to follow", func(ctx context.Context) error {
		info, err := node.Query(ctx, "INFO", "replication")
		if err == nil && !strings.Contains(fmt.Sprint(info), "master_link_status:up") {
			err = fmt.Errorf("%v", info)
		}
		return err
	})
	return node
}

// Failover makes replica the master of its slots, as for an upgrade of the master. It returns
// once all members report that.
func (c *Cluster) Failover(t testing.TB, replica *Server) {
	t.Helper()
	replica.Do(t, "CLUSTER", "FAILOVER")
	id := fmt.Sprint(replica.Do(t, "CLUSTER", "MYID"))
	for _, node := range c.Nodes {
		c.await(t, "the failover", func(ctx context.Context) error {
			list, err := node.Query(ctx, "CLUSTER", "NODES")
			for line := range strings.Lines(fmt.Sprint(list)) {
				if strings.HasPrefix(line, id) && strings.Contains(line, "master") {
					return err
				}
			}
			return errors.Join(err, fmt.Errorf("%v", list))
		})
	}
}

// await waits until check returns nil.
func (c *Cluster) await(t testing.TB, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()
	if err := until(ctx, func() error { return check(ctx) }); err != nil {
		t.Fatalf("servers: %s: %v", what, err)
	}
}

// A Migration is a slot of a Cluster that moves from one master to another. While it is open,
// each of them serves the keys that it has, and the source redirects clients for the other keys.
type Migration struct {
	c        *Cluster
	from, to *Server
	slot     string
}

// OpenMigration begins to move the slot of key. It moves no key.
func (c *Cluster) OpenMigration(t testing.TB, key string, from, to *Server) *Migration {
	t.Helper()
	m := &Migration{c, from, to, fmt.Sprint(from.Do(t, "CLUSTER", "KEYSLOT", key))}
	to.Do(t, "CLUSTER", "SETSLOT", m.slot, "IMPORTING", from.Do(t, "CLUSTER", "MYID"))
	from.Do(t, "CLUSTER", "SETSLOT", m.slot, "MIGRATING", to.Do(t, "CLUSTER", "MYID"))
	return m
}

// Move moves keys of the slot, by default all. A key that no longer exists is not an error.
func (m *Migration) Move(t testing.TB, keys ...string) {
	t.Helper()
	if len(keys) == 0 {
		list, _ := m.from.Do(t, "CLUSTER", "GETKEYSINSLOT", m.slot, 1000).([]any)
		for _, key := range list {
			keys = append(keys, fmt.Sprint(key))
		}
	}
	for _, key := range keys {
		m.from.Do(t, "MIGRATE", "127.0.0.1", m.to.port, key, 0, 5000)
	}
}

// Close moves the remaining keys, and gives the slot to its new master.
func (m *Migration) Close(t testing.TB) {
	t.Helper()
	m.Move(t)
	id := m.to.Do(t, "CLUSTER", "MYID")
	m.to.Do(t, "CLUSTER", "SETSLOT", m.slot, "NODE", id)
	m.from.Do(t, "CLUSTER", "SETSLOT", m.slot, "NODE", id)
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

// WaitWhole waits until every node knows all the others and serves all slots, for example after a
// node was started again.
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
			continue // the node is down or paused
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
