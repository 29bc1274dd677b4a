package goredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

const idleConns = 8

// fill fills the client's pool with idleConns idle connections.
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

// onLocks passes PING and commands about locks to handler.
func onLocks(handler func(args []string) string) func(args []string) string {
	return func(args []string) string {
		switch args[0] {
		case "set", "eval", "evalsha", "ping":
			return handler(args)
		}
		return ""
	}
}

// well answers like a server that grants everything.
func well(args []string) string {
	switch args[0] {
	case "set", "ping":
		return "+OK\r\n"
	}
	return list(":1\r\n", bulk("x"), ":1\r\n")
}

// failsOnce makes a call on a broken connection to s. A call that ends before its command
// is written says nothing about the connection, so it makes others until s has a command.
func failsOnce(t *testing.T, s *fakeServer, call func(ctx context.Context) error) {
	t.Helper()
	commands := func() int { return len(s.received("set ")) + len(s.received("eval")) }
	before := commands()
	if err := call(within(t, 100*time.Millisecond)); err == nil {
		t.Fatal("the first call did not fail")
	}
	for commands() == before && call(within(t, 100*time.Millisecond)) != nil {
	}
}

// When one connection breaks, all idle ones have broken too. One call fails, and the next one
// uses none of them.
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
					if s.accepted() <= idleConns { // only the old connections exist
						return on
					}
					return well(args)
				}))
				n := New(client)
				failsOnce(t, s, func(ctx context.Context) error { return call.call(ctx, n) })
				err := call.call(within(t, 2*time.Second), n)
				if err != nil && (errors.Is(err, context.DeadlineExceeded) || isReply(err)) {
					t.Errorf("the second call: %v", err)
				}
				eventually(t, "the server has no connection but the new one", func() bool { return s.open() == 1 })
			})
		}
	}
}

// An error reply, or a caller that leaves, does not affect other connections.
func TestSoundConnectionsStay(t *testing.T) {
	t.Parallel()
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
		t.Error("a call without a reply succeeds")
	}
	s.setHandler(onLocks(well))
	if ok, err := n.SetNX(within(t, time.Second), "k", "t", time.Second); !ok || err != nil {
		t.Errorf("got %v, %v, want true, nil", ok, err)
	}
	if ctx.Err() == context.Canceled && s.accepted() > idleConns {
		t.Errorf("%d connections were opened, want %d", s.accepted(), idleConns)
	}
}

// If a server stays a replica, its connections are not replaced again and again.
func TestReplicaReconnectsAreLimited(t *testing.T) {
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

// The error of a call without a connection contains the size of the pool.
func TestExhaustedPoolError(t *testing.T) {
	s := newFakeServer(t, onLocks(well))
	const want = "no free connection in the pool (size 1)"
	for _, o := range []redis.Options{
		{PoolSize: 1}, {PoolSize: 1, PoolTimeout: time.Millisecond}, {PoolSize: 5, MaxActiveConns: 1},
	} {
		o.Addr = s.addr()
		client := newClient(t, &o)
		n := New(client)
		if err := n.Hindered(); err != nil {
			t.Errorf("an unused pool: %v", err)
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

// A call of the node itself that waits for the server does not count as a full pool.
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
		t.Errorf("while a call of the node is under way: %v", err)
	}
	if err := <-done; strings.Contains(err.Error(), "pool") {
		t.Errorf("a call to a server that hangs: %v", err)
	}
}

// reconnects calls n while one of its connections hangs. It expects that the call opens a new
// connection, which stays when the hanging one has failed. others is the number of connections
// that may be opened for other reasons.
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
		t.Errorf("during a call that hangs: %v, %v", ok, err)
	}
	if err := <-hung; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call that hung: %v", err)
	}
	if ok, err := n.SetNX(within(t, time.Second), key, "t", time.Second); !ok || err != nil {
		t.Errorf("afterwards: %v, %v", ok, err)
	}
	if got := s.accepted() - old; got < 1 || got > 1+others {
		t.Errorf("%d connections were opened, want 1, and at most %d for other reasons", got, others)
	}
}

// After Reconnect because of a hanging call, the next call uses no idle connection.
func TestReconnect(t *testing.T) {
	t.Parallel()
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

// A call is under way when Reconnect is called, and is answered well later. Its connection may lead
// to the old server of a name that has moved, so no other call uses it.
func TestReconnectDuringACall(t *testing.T) {
	t.Parallel()
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr()})
	n := New(client)
	answer := make(chan struct{})
	s.setHandler(onLocks(func(args []string) string {
		if args[0] == "set" && args[1] == "first" {
			<-answer
		}
		return well(args)
	}))
	set := func(key string) {
		if ok, err := n.SetNX(within(t, 5*time.Second), key, "t", time.Second); !ok || err != nil {
			t.Errorf("%s: %v, %v", key, ok, err)
		}
	}
	var first sync.WaitGroup
	first.Go(func() { set("first") })
	eventually(t, "a call is under way", func() bool { return len(s.received("set")) == 1 })
	n.Reconnect("k")
	set("second")
	close(answer)
	first.Wait()
	before := s.accepted()
	set("third")
	if got := s.accepted() - before; got != 1 {
		t.Errorf("after the first call %d connections were opened, want 1, as one of the idle ones may be old", got)
	}
	before = s.accepted()
	set("fourth")
	if got := s.accepted() - before; got != 0 {
		t.Errorf("then %d connections were opened, want 0", got)
	}
}

// The server closes its connections and hangs. While a call replaces them, which may take as long as
// it can wait, another one ends at its own deadline.
func TestDeadlineWhileConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 2 * idleConns})
	n := New(client)
	fill(t, client)
	s.setDeaf()
	s.hangUp()
	n.Reconnect("k")
	var patient sync.WaitGroup
	patient.Go(func() { n.SetNX(within(t, 3*time.Second), "patient", "t", time.Second) })
	time.Sleep(20 * time.Millisecond) // so that it is the first, which is what is tested
	start := time.Now()
	n.SetNX(within(t, 200*time.Millisecond), "k", "t", time.Second)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a call that can wait 200 ms took %v", took)
	}
	patient.Wait()

	// The same if the other one never ends.
	n.Reconnect("k")
	n.route.(*single).closing <- struct{}{}
	start = time.Now()
	n.SetNX(within(t, 200*time.Millisecond), "k", "t", time.Second)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a call that can wait 200 ms took %v beside one that never ends", took)
	}
}

// limiter is a redis.Limiter.
type limiter struct {
	denies atomic.Bool
	mu     sync.Mutex
	heard  []error
}

func (l *limiter) Allow() error {
	if l.denies.Load() {
		return errors.New("the limiter denies it")
	}
	return nil
}

func (l *limiter) ReportResult(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(err, errUnusable) {
		l.heard = append(l.heard, err)
	}
}

// A Limiter neither counts that connections are closed as failures, nor prevents it.
func TestReconnectWithALimiter(t *testing.T) {
	t.Parallel()
	s := newFakeServer(t, nil)
	l := &limiter{}
	client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 2 * idleConns, Limiter: l})
	n := New(client)
	fill(t, client)
	set := func() error {
		_, err := n.SetNX(within(t, time.Second), "k", "t", time.Second)
		return err
	}
	n.Reconnect("k")
	l.denies.Store(true)
	if err := set(); err == nil {
		t.Error("the call succeeds, although the limiter denies it")
	}
	l.denies.Store(false)
	before := s.accepted()
	if err := set(); err != nil {
		t.Error(err)
	}
	if got := s.accepted() - before; got != 1 {
		t.Errorf("%d connections were opened, want 1, as Reconnect was called", got)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) > 0 {
		t.Errorf("the limiter heard %d times that a connection was closed", len(l.heard))
	}
}

// fillMaster fills the client for the master of low with idle connections, on which no further
// commands are answered.
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

// The same applies to the connections to one master of a Cluster. Those to the other masters
// stay.
func TestClusterStaleConnections(t *testing.T) {
	t.Parallel()
	set := func(o *redis.ClusterOptions) { o.PoolSize = 2 * idleConns }
	t.Run("told", func(t *testing.T) {
		t.Parallel()
		a, b := newFakeServer(t, nil), newFakeServer(t, nil)
		c := newCluster(t, set, a, b)
		n := New(c)
		ping := func(ctx context.Context, m *redis.Client) error { return m.Ping(ctx).Err() }
		if err := c.ForEachMaster(within(t, 5*time.Second), ping); err != nil { // reads the map of the Cluster
			t.Fatal(err)
		}
		fillMaster(t, c, a)
		others := b.accepted()
		reconnects(t, a, n, low, 1) // because the driver reads the map
		if got := b.accepted(); got != others {
			t.Errorf("the other master has had %d connections, want %d", got, others)
		}
	})
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprint("a call times out/batch ", batch), func(t *testing.T) {
			t.Parallel()
			a, b := newFakeServer(t, nil), newFakeServer(t, nil)
			c := newCluster(t, set, a, b)
			n := New(c)
			fillMaster(t, c, a)
			op := backend.Op{Kind: backend.OpSetNX, Key: low, Token: "t", TTL: time.Second}
			ops := []backend.Op{op}
			if batch {
				ops = append(ops, op)
			}
			failsOnce(t, a, func(ctx context.Context) error { return n.Batch(ctx, ops)[0].Err })
			if r := n.Batch(within(t, time.Second), ops)[0]; r.Err != nil {
				t.Errorf("the second call: %v", r.Err)
			}
		})
	}
}
