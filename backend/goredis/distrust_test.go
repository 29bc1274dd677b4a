package goredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

const idleConns = 8

// fill has the client's pool hold idleConns idle connections.
func fill(t *testing.T, client *redis.Client) {
	t.Helper()
	var conns []*redis.Conn
	for range idleConns {
		c := client.Conn()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
	if got := client.PoolStats().IdleConns; got != idleConns {
		t.Fatalf("%d idle connections, want %d", got, idleConns)
	}
}

// onLocks has handler answer what has to do with locks, and PING.
func onLocks(handler func(args []string) string) func(args []string) string {
	return func(args []string) string {
		switch args[0] {
		case "set", "eval", "evalsha", "ping":
			return handler(args)
		}
		return ""
	}
}

// well answers as a server that grants everything.
func well(args []string) string {
	switch args[0] {
	case "set", "ping":
		return "+OK\r\n"
	}
	return list(":1\r\n", bulk("x"), ":1\r\n")
}

// What breaks one connection has broken those that were idle: one call fails, and the next
// one meets none of them.
func TestStaleConnections(t *testing.T) {
	for name, on := range map[string]string{
		"swallowed":                  ignore,
		"a replica's":                "-READONLY You can't write against a read only replica.\r\n",
		"a replica's without master": "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
		"a replica's, in a script":   "-ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. \r\n",
	} {
		for _, call := range calls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				s := newFakeServer(t, nil)
				client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 2 * idleConns})
				fill(t, client)
				s.setHandler(onLocks(func(args []string) string {
					if s.accepted() <= idleConns { // that is, only old connections are there
						return on
					}
					return well(args)
				}))
				n := New(client)
				if err := call.call(within(t, 100*time.Millisecond), n); err == nil {
					t.Fatal("the first call did not fail")
				}
				err := call.call(within(t, 2*time.Second), n)
				if err != nil && (errors.Is(err, context.DeadlineExceeded) || isReply(err)) {
					t.Errorf("the second call: %v", err)
				}
				eventually(t, "the server has no connection but the new one", func() bool { return s.open() == 1 })
			})
		}
	}
}

// An answer says nothing about other connections, nor does a caller that leaves.
func TestSoundConnectionsStay(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 2 * idleConns})
	fill(t, client)
	n := New(client)
	s.setHandler(onLocks(func([]string) string { return "-ERR strange\r\n" }))
	for _, call := range calls {
		if err := call.call(within(t, time.Second), n); err == nil {
			t.Errorf("%s did not fail", call.name)
		}
	}
	s.setHandler(onLocks(func([]string) string { return ignore }))
	ctx, cancel := context.WithCancel(within(t, 300*time.Millisecond))
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := n.SetNX(ctx, "k", "t", time.Second); err == nil {
		t.Error("a call that is not answered succeeds")
	}
	s.setHandler(onLocks(well))
	if ok, err := n.SetNX(within(t, time.Second), "k", "t", time.Second); !ok || err != nil {
		t.Errorf("got %v, %v, want true, nil", ok, err)
	}
	if ctx.Err() == context.Canceled && s.accepted() > idleConns {
		t.Errorf("%d connections were made, want %d", s.accepted(), idleConns)
	}
}

// A server that stays a replica does not have all connections replaced all the time.
func TestReplicaIsNotDialledAllTheTime(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 2 * idleConns})
	fill(t, client)
	s.setHandler(onLocks(func([]string) string { return "-MASTERDOWN Link with MASTER is down.\r\n" }))
	n := New(client)
	start := time.Now()
	for range 300 {
		if _, err := n.SetNX(within(t, time.Second), "k", "t", time.Second); !errors.Is(err, backend.ErrNotMaster) {
			t.Fatalf("got %v, want an error of a replica", err)
		}
		n.Batch(within(t, time.Second), everyKind())
	}
	if got, most := s.accepted(), idleConns+1+int(time.Since(start)/replacePause); got > most || got == idleConns {
		t.Errorf("%d connections in %v, want from %d to %d", got, time.Since(start), idleConns+1, most)
	}
}

// A call that gets no connection says how large the pool is.
func TestExhaustedPoolIsNamed(t *testing.T) {
	s := newFakeServer(t, onLocks(well))
	const want = "no free connection in the pool (size 1)"
	for _, o := range []redis.Options{
		{PoolSize: 1}, {PoolSize: 1, PoolTimeout: time.Millisecond}, {PoolSize: 5, MaxActiveConns: 1},
	} {
		o.Addr = s.addr()
		client := newClient(t, &o)
		n := New(client)
		if err := n.Hindered(); err != nil {
			t.Errorf("a pool that nobody uses: %v", err)
		}
		c := client.Conn()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := n.Hindered(); err == nil || err.Error() != want {
			t.Errorf("Hindered returns %v, want %q", err, want)
		}
		for _, call := range calls {
			err := call.call(within(t, 30*time.Millisecond), n)
			if err == nil || !strings.HasPrefix(err.Error(), want) || !backend.NotExecuted(err) {
				t.Errorf("%s: got %v, want %q, not executed", call.name, err, want)
			}
		}
		c.Close()
	}
}

// A call of the node's own that waits for the server is not the pool's fault.
func TestHungServerIsNotThePool(t *testing.T) {
	s := newFakeServer(t, onLocks(func([]string) string { return ignore }))
	n := New(newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 1}))
	done := make(chan error, 1)
	go func() {
		_, err := n.SetNX(within(t, 200*time.Millisecond), "k", "t", time.Second)
		done <- err
	}()
	eventually(t, "a call is under way", func() bool { return len(s.received("set")) == 1 })
	if err := n.Hindered(); err != nil {
		t.Errorf("while a call of its own is under way: %v", err)
	}
	if err := <-done; strings.Contains(err.Error(), "pool") {
		t.Errorf("a call to a server that hangs: %v", err)
	}
}

// reconnects calls n while one of its connections hangs, and expects that the call makes a
// new one, which stays when the one that hangs has failed. Others is how many connections
// may be made for something else.
func reconnects(t *testing.T, s *fakeServer, n *Node, key string, others int) {
	t.Helper()
	old := s.accepted()
	hung := make(chan error, 1)
	go func() {
		_, err := n.SetNX(within(t, 500*time.Millisecond), key, "t", time.Second)
		hung <- err
	}()
	eventually(t, "a call is under way", func() bool { return len(s.received("set")) == 1 })
	n.Reconnect(key)
	if ok, err := n.SetNX(within(t, 400*time.Millisecond), key, "t", time.Second); !ok || err != nil {
		t.Errorf("beside a call that hangs: %v, %v", ok, err)
	}
	if err := <-hung; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call that hung: %v", err)
	}
	if ok, err := n.SetNX(within(t, time.Second), key, "t", time.Second); !ok || err != nil {
		t.Errorf("afterwards: %v, %v", ok, err)
	}
	if got := s.accepted() - old; got < 1 || got > 1+others {
		t.Errorf("%d connections were made, want 1, and at most %d for something else", got, others)
	}
}

// When a call hangs and the node is told so, the next one uses no connection that was idle.
func TestReconnect(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 2 * idleConns})
	fill(t, client)
	s.setHandler(onLocks(func(args []string) string {
		if s.accepted() <= idleConns {
			return ignore
		}
		return well(args)
	}))
	reconnects(t, s, New(client), "k", 0)
}

// fillMaster has the client for the master of low hold idle connections, which are not
// answered any more.
func fillMaster(t *testing.T, c *redis.ClusterClient, s *fakeServer) {
	t.Helper()
	m, err := c.MasterForKey(within(t, 5*time.Second), low)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, m)
	old := s.accepted()
	s.mu.Lock()
	rest := s.handler
	s.mu.Unlock()
	s.setHandler(func(args []string) string {
		switch {
		case args[0] != "set":
			return rest(args)
		case s.accepted() <= old:
			return ignore
		}
		return "+OK\r\n"
	})
}

// The connections to a master of a Cluster are left in the same way, and those to the
// others are not.
func TestClusterStaleConnections(t *testing.T) {
	set := func(o *redis.ClusterOptions) { o.PoolSize = 2 * idleConns }
	t.Run("told", func(t *testing.T) {
		a, b := newFakeServer(t, nil), newFakeServer(t, nil)
		c := newCluster(t, set, a, b)
		n := New(c)
		ping := func(ctx context.Context, m *redis.Client) error { return m.Ping(ctx).Err() }
		if err := c.ForEachMaster(within(t, 5*time.Second), ping); err != nil { // which reads the map
			t.Fatal(err)
		}
		fillMaster(t, c, a)
		others := b.accepted()
		reconnects(t, a, n, low, 1) // the driver reads the map
		if got := b.accepted(); got != others {
			t.Errorf("the other master has had %d connections, want %d", got, others)
		}
	})
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprint("a call times out/batch ", batch), func(t *testing.T) {
			a, b := newFakeServer(t, nil), newFakeServer(t, nil)
			c := newCluster(t, set, a, b)
			n := New(c)
			fillMaster(t, c, a)
			op := backend.Op{Kind: backend.OpSetNX, Key: low, Token: "t", TTL: time.Second}
			ops := []backend.Op{op}
			if batch {
				ops = append(ops, op)
			}
			if r := n.Batch(within(t, 100*time.Millisecond), ops)[0]; r.Err == nil {
				t.Fatal("the first call did not fail")
			}
			if r := n.Batch(within(t, time.Second), ops)[0]; r.Err != nil {
				t.Errorf("the second call: %v", r.Err)
			}
		})
	}
}
