package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// A fault is one row of the table for each adapter.
type fault struct {
	name  string
	needs func(drivers.Driver) bool // nil: any adapter
	stage func(t *scope) *scene     // starts servers
}

// A scene is a set of servers and the fault that will hit them.
type scene struct {
	target  target // without the adapter
	servers []*servers.Server
	hit     func() moments
}

// moments are the points in time of a fault.
type moments struct {
	begun time.Time // a lock is new if it was requested after this
	zero  time.Time // recovery counts from here
	note  string    // what the table adds
}

// outage reports whether no server could grant a lock from begun to zero. In that case, every
// lock that is granted after zero is new, even if it was requested earlier.
func (m moments) outage() bool { return m.zero.Sub(m.begun) > time.Second }

// down is how long a killed server is down.
const down = 3 * time.Second

// moving is how long the migration of a slot takes.
const moving = 5 * time.Second

func clusters(d drivers.Driver) bool  { return d.Cluster != nil }
func sentinels(d drivers.Driver) bool { return d.Sentinel != nil }

var faults = []fault{
	{name: "killed, back empty after 3 s", stage: func(t *scope) *scene { return killed(t, 1) }},
	{name: "killed, back with its data after 3 s", stage: func(t *scope) *scene { return killed(t, 1, servers.WithAOF()) }},
	{name: "one of three killed, back empty after 3 s", stage: func(t *scope) *scene { return killed(t, 3) }},
	{name: "hung for 5 s", stage: func(t *scope) *scene { return hung(t, 1, 5*time.Second) }},
	{name: "hung for 15 s", stage: func(t *scope) *scene { return hung(t, 1, 15*time.Second) }},
	{name: "one of three hung for 15 s", stage: func(t *scope) *scene { return hung(t, 3, 15*time.Second) }},
	{name: "connections dropped silently", stage: dropped},
	{name: "failover behind a name", stage: renamed},
	{name: "Sentinel failover", needs: sentinels, stage: sentinelFailover},
	{name: "Cluster failover by command", needs: clusters, stage: clusterFailover},
	{name: "Cluster master killed", needs: clusters, stage: clusterDeath},
	{name: "Cluster slot moved to a new master", needs: clusters, stage: grown},
	{name: "Cluster slot on the move for 5 s", needs: clusters, stage: migrating},
}

// independent starts n servers.
func independent(t *scope, n int, opts ...servers.Option) *scene {
	list := servers.Start(t, servers.Any, n, append(opts, servers.WithOutages(), servers.WithoutReuse())...)
	s := &scene{servers: list}
	for _, server := range list {
		s.target.URLs = append(s.target.URLs, server.URL())
	}
	return s
}

// killed kills one of n servers, and starts it again.
func killed(t *scope, n int, opts ...servers.Option) *scene {
	scene := independent(t, n, opts...)
	s := scene.servers[0]
	scene.hit = func() moments {
		s.Kill(t)
		m := moments{begun: time.Now()}
		time.Sleep(down)
		s.Start(t)
		return m.over(n)
	}
	return scene
}

// hung freezes one of n servers for a while.
func hung(t *scope, n int, d time.Duration) *scene {
	scene := independent(t, n)
	s := scene.servers[0]
	scene.hit = func() moments {
		s.Pause(t)
		m := moments{begun: time.Now()}
		time.Sleep(d)
		s.Resume(t)
		return m.over(n)
	}
	return scene
}

// over ends the outage of one of n servers now. If it is the only server, recovery counts from
// now.
func (m moments) over(n int) moments {
	m.zero = m.begun
	if n == 1 {
		m.zero = time.Now()
	}
	return m
}

// dropped loses all open connections silently.
func dropped(t *scope) *scene {
	scene := independent(t, 1)
	proxy := netfault.New(t, scene.servers[0].Addr())
	scene.target.URLs = []string{"redis://" + proxy.Addr()}
	scene.hit = func() moments {
		proxy.Forget()
		now := time.Now()
		return moments{begun: now, zero: now}
	}
	return scene
}

// renamed promotes a replica and moves the name of the master to it. The master
// becomes a replica and keeps its clients.
func renamed(t *scope) *scene {
	list := servers.Start(t, servers.Any, 2, servers.WithoutReuse(), servers.WithArgs("--repl-diskless-sync-delay", "0"))
	a, b := list[0], list[1]
	follow := func(s, master *servers.Server) {
		host, port := master.HostPort()
		s.Do(t, "REPLICAOF", host, port)
	}
	follow(b, a)
	await(t, "the replica to follow", func(ctx context.Context) error {
		info, err := b.Query(ctx, "INFO", "replication")
		return has(info, err, "master_link_status:up")
	})
	name := netfault.New(t, a.Addr())
	return &scene{target: target{URLs: []string{"redis://" + name.Addr()}}, servers: list, hit: func() moments {
		b.Do(t, "REPLICAOF", "NO", "ONE")
		name.Redirect(b.Addr())
		follow(a, b)
		now := time.Now()
		return moments{begun: now, zero: now}
	}}
}

// sentinelFailover kills the master of a Sentinel set.
func sentinelFailover(t *scope) *scene {
	set := servers.StartSentinel(t, servers.Any, 1)
	to := target{Sentinel: set.Addrs(), Master: set.Name}
	return &scene{target: to, servers: []*servers.Server{set.Master, set.Replica}, hit: func() moments {
		set.Master.Kill(t)
		m := moments{begun: time.Now(), zero: time.Now()}
		set.WaitFailover(t)
		m.note = "new master after " + short(time.Since(m.zero))
		return m
	}}
}

// clusterOf starts a Cluster. It also returns a tag whose slot belongs to the first master.
func clusterOf(t *scope) (*servers.Cluster, *scene) {
	c := servers.StartClusterWithSpares(t, servers.Any, 1)
	tag := ""
	for i := 0; tag == "" || c.NodeOf(t, tag) != c.Nodes[0]; i++ {
		tag = fmt.Sprintf("{%d}", i)
	}
	all := append(append([]*servers.Server(nil), c.Nodes...), c.Spares...)
	return c, &scene{target: target{Cluster: c.Addrs(), Tag: tag}, servers: all}
}

// clusterFailover makes a replica take its master's place, as for an upgrade.
func clusterFailover(t *scope) *scene {
	c, scene := clusterOf(t)
	replica := c.AddReplica(t, c.Nodes[0])
	scene.hit = func() moments {
		m := moments{zero: time.Now()}
		replica.Do(t, "CLUSTER", "FAILOVER")
		awaitMaster(t, replica)
		m.begun = time.Now() // until then the old master may grant locks
		m.note = "new master after " + short(m.begun.Sub(m.zero))
		return m
	}
	return scene
}

// clusterDeath kills a master that has a replica.
func clusterDeath(t *scope) *scene {
	c, scene := clusterOf(t)
	replica := c.AddReplica(t, c.Nodes[0])
	scene.hit = func() moments {
		c.Nodes[0].Kill(t)
		m := moments{begun: time.Now(), zero: time.Now()}
		awaitMaster(t, replica)
		m.note = "new master after " + short(time.Since(m.zero))
		return m
	}
	return scene
}

// grown adds a master, which gets the slot at once.
func grown(t *scope) *scene {
	c, scene := clusterOf(t)
	scene.hit = func() moments {
		master := c.AddMaster(t)
		m := moments{zero: time.Now()}
		c.OpenMigration(t, scene.target.Tag, c.Nodes[0], master).Close(t)
		m.begun = time.Now()
		return m
	}
	return scene
}

// migrating opens the migration of a slot between two masters, moves its keys after half of the
// time, and ends it after all of it.
func migrating(t *scope) *scene {
	c, scene := clusterOf(t)
	scene.hit = func() moments {
		migration := c.OpenMigration(t, scene.target.Tag, c.Nodes[0], c.Nodes[1])
		now := time.Now()
		time.Sleep(moving / 2)
		migration.Move(t)
		time.Sleep(moving / 2)
		migration.Close(t)
		return moments{begun: now, zero: now}
	}
	return scene
}

func awaitMaster(t *scope, s *servers.Server) {
	await(t, "the new master", func(ctx context.Context) error {
		info, err := s.Query(ctx, "INFO", "replication")
		return has(info, err, "role:master")
	})
}

// await waits until check returns nil.
func await(t *scope, what string, check func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	for err := check(ctx); err != nil; err = check(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// has returns err, or an error if a reply lacks a line.
func has(answer any, err error, line string) error {
	if err == nil && !strings.Contains(fmt.Sprint(answer), line+"\r\n") {
		err = errors.New(fmt.Sprint(answer))
	}
	return err
}
