package redigo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

// fill fills the pool with n idle connections.
func fill(t *testing.T, p *redis.Pool, n int) {
	t.Helper()
	conns := make([]redis.Conn, n)
	for i := range conns {
		conns[i] = p.Get()
		if err := conns[i].Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if got := p.IdleCount(); got != n {
		t.Fatalf("%d idle connections, want %d", got, n)
	}
}

var one = []backend.Op{{Kind: backend.OpSetNX, Key: "a", Token: "t", TTL: time.Second}, {Kind: backend.OpEvalDelete, Key: "b", Token: "t"}}

// failsOnce makes a call on one of several broken connections to s, and reports whether that showed
// anything. On a busy machine a call can end before its command is written, and then it says
// nothing about the connection. So failsOnce makes others until s has a command. A large command may
// break while it is written. Then s never has it, but the next call succeeds on a new connection. A
// call that succeeds after all connections were used up shows nothing. Many calls
// of which none was written show nothing either.
func failsOnce(t *testing.T, s *server, conns int, call func() error) bool {
	t.Helper()
	for failed := range 2 * conns {
		if s.seen() != "" {
			return true
		}
		if err := call(); err != nil {
			continue
		}
		if failed == 0 {
			t.Fatalf("a call succeeds, with %d broken connections", conns)
		}
		return failed < conns
	}
	return false
}

// When one connection breaks, all idle ones have broken too. One call fails, and the next one
// uses none of them.
func TestStaleConnections(t *testing.T) {
	const idle = 8
	for name, on := range map[string]string{"closed": hangUp, "swallowed": silent, "a replica's": "-READONLY You can't write against a read only replica.\r\n"} {
		for _, call := range calls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				var p *redis.Pool
				var n *Node
				for wait, shown := 60*time.Millisecond, false; !shown; wait *= 2 {
					if wait > 10*time.Second {
						t.Fatal("no call showed anything")
					}
					s := serve(t, func(conn int, args []string) string {
						switch {
						case conn < idle:
							return on
						case args[0] == "SET":
							return "+OK\r\n"
						case args[0] == "PING":
							return "*3\r\n:0\r\n$0\r\n\r\n:0\r\n"
						}
						return ":1\r\n"
					})
					p = s.pool(t)
					n = New(p)
					fill(t, p, idle)
					shown = failsOnce(t, s, idle, func() error {
						ctx, cancel := context.WithTimeout(t.Context(), wait)
						defer cancel()
						return call.do(n, ctx)
					})
				}
				var err error
				soon(t, call.name, func() { err = call.do(n, t.Context()) })
				if err != nil && !strings.Contains(err.Error(), "only one of the batch failed") {
					t.Errorf("the second call: %v", err)
				}
				if got := p.ActiveCount(); got != 1 {
					t.Errorf("the pool has %d connections, want only the new one", got)
				}
			})
		}
	}
}

// A caller that leaves, or an error reply, does not affect other connections.
func TestSoundConnectionsStay(t *testing.T) {
	const idle = 8
	reply := "-ERR strange\r\n"
	s := serve(t, func(int, []string) string { return reply })
	p := s.pool(t)
	n := New(p)
	fill(t, p, idle)
	for _, call := range calls {
		if err := call.do(n, t.Context()); err == nil {
			t.Errorf("%s did not fail", call.name)
		}
	}
	if s.dialled() != idle {
		t.Errorf("%d connections after error replies, want %d", s.dialled(), idle)
	}
	s.mu.Lock()
	reply = silent
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := n.SetNX(ctx, "k", "t", time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that is cancelled: %v", err)
	}
	s.mu.Lock()
	reply = "+OK\r\n"
	s.mu.Unlock()
	if ok, err := n.SetNX(t.Context(), "k", "t", time.Second); !ok || err != nil {
		t.Errorf("got %v, %v, want true, nil", ok, err)
	}
	if p.ActiveCount() != idle-1 || s.dialled() != idle {
		t.Errorf("%d connections are left of %d dialled, want %d of %d", p.ActiveCount(), s.dialled(), idle-1, idle)
	}
}

// If a server stays a replica, its connections are not replaced again and again.
func TestReplicaReconnectsAreLimited(t *testing.T) {
	s := serve(t, func(int, []string) string { return "-READONLY You can't write against a read only replica.\r\n" })
	n := New(s.pool(t))
	start := time.Now()
	for range 1000 {
		if _, err := n.SetNX(t.Context(), "k", "t", time.Second); !errors.Is(err, backend.ErrNotMaster) {
			t.Fatalf("got %v, want an error of a replica", err)
		}
		n.Batch(t.Context(), one)
	}
	if got, most := s.dialled(), 2+int(time.Since(start)/replacePause); got < 2 || got > most {
		t.Errorf("%d connections in %v, want from 2 to %d", got, time.Since(start), most)
	}
}

// The error of a call without a connection contains the size of the pool.
func TestExhaustedPoolError(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	for _, wait := range []bool{false, true} {
		p := s.pool(t)
		p.MaxActive, p.Wait = 1, wait
		n := New(p)
		if err := n.Hindered(); err != nil {
			t.Errorf("Wait %v: an unused pool: %v", wait, err)
		}
		c := p.Get()
		const want = "no free connection in the pool (size 1)"
		if err := n.Hindered(); err == nil || err.Error() != want {
			t.Errorf("Wait %v: Hindered returns %v, want %q", wait, err, want)
		}
		for _, call := range calls {
			err := call.do(n, short(t))
			if err == nil || !strings.HasPrefix(err.Error(), want) || !backend.NotExecuted(err) {
				t.Errorf("Wait %v, %s: got %v, want %q, not executed", wait, call.name, err, want)
			}
		}
		_ = c.Close()
		if err := n.Hindered(); err != nil {
			t.Errorf("Wait %v: after the connection was returned: %v", wait, err)
		}
	}
}

// A call of the node itself that waits for the server does not count as a full pool.
func TestHungServerIsNotThePool(t *testing.T) {
	s := serve(t, func(int, []string) string { return silent })
	p := s.pool(t)
	p.MaxActive, p.Wait = 1, true
	n := New(p)
	done := make(chan error, 1)
	go func() {
		_, err := n.SetNX(short(t), "k", "t", time.Second)
		done <- err
	}()
	eventually(t, "a call is under way", func() bool { return s.seen() == "SET" })
	if err := n.Hindered(); err != nil {
		t.Errorf("while a call of its own is under way: %v", err)
	}
	if err := <-done; strings.Contains(err.Error(), "pool") {
		t.Errorf("a call to a server that hangs: %v", err)
	}
}

// After Reconnect because of a hanging call, the next call uses no idle connection. The new
// connection stays when the hanging call has failed.
func TestReconnect(t *testing.T) {
	const idle = 8
	s := serve(t, func(conn int, args []string) string {
		if conn < idle {
			return silent
		}
		return "+OK\r\n"
	})
	p := s.pool(t)
	n := New(p)
	fill(t, p, idle)
	hung := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := n.SetNX(ctx, "k", "t", time.Second)
		hung <- err
	}()
	for p.IdleCount() == idle { // until the call is under way
		time.Sleep(time.Millisecond)
	}
	n.Reconnect("k")
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if ok, err := n.SetNX(ctx, "k", "t", time.Second); !ok || err != nil {
		t.Errorf("during a call that hangs: %v, %v", ok, err)
	}
	if err := <-hung; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call that hung: %v", err)
	}
	if ok, err := n.SetNX(t.Context(), "k", "t", time.Second); !ok || err != nil {
		t.Errorf("afterwards: %v, %v", ok, err)
	}
	if s.dialled() != idle+1 || p.ActiveCount() != 1 {
		t.Errorf("%d connections were opened and %d are open, want %d and 1", s.dialled(), p.ActiveCount(), idle+1)
	}
}

// A call is under way when Reconnect is called, and is answered well later. Its connection may lead
// to the old server of a name that has moved, so no other call uses it.
func TestReconnectDuringACall(t *testing.T) {
	old := make(chan struct{}, 4)
	s := serve(t, func(conn int, args []string) string {
		if args[0] == "SET" && conn == 0 {
			old <- struct{}{}
			return silent
		}
		return "+OK\r\n"
	})
	p := s.pool(t)
	n := New(p)
	set := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if ok, err := n.SetNX(ctx, "k", "t", time.Second); !ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
	}
	var first sync.WaitGroup
	first.Go(set)
	<-old
	n.Reconnect("k")
	set()
	s.mu.Lock()
	io.WriteString(s.conns[0], "+OK\r\n")
	s.mu.Unlock()
	first.Wait()
	for range 3 {
		set() // would hang on the old connection
	}
	if s.dialled() != 2 || p.ActiveCount() != 1 || len(old) > 0 {
		t.Errorf("%d connections were opened and %d are open, want 2 and 1; %d calls used the old one again", s.dialled(), p.ActiveCount(), len(old))
	}
}

// A server that has too many clients answers a command, and closes the connection. No other call
// uses it. The connections of others are sound.
func TestTooManyClients(t *testing.T) {
	const said = "ERR max number of clients reached"
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			s := serve(t, func(conn int, args []string) string {
				switch {
				case conn == 1:
					return "-" + said + "\r\n"
				case args[0] == "SET":
					return "+OK\r\n"
				}
				return ":1\r\n"
			})
			p := s.pool(t)
			n := New(p)
			other, refused := p.Get(), p.Get() // in the order in which they are dialled
			for _, c := range []redis.Conn{other, refused} {
				if err := c.Err(); err != nil {
					t.Fatal(err)
				}
				c.Close() // the pool hands out the last one first
			}
			if reply, _ := backend.ServerReply(call.do(n, t.Context())); reply != said {
				t.Errorf("the reply in the error is %q, want %q", reply, said)
			}
			if err := call.do(n, t.Context()); err != nil && !strings.Contains(err.Error(), "only one of the batch failed") {
				t.Errorf("the next call: %v", err)
			}
			if s.dialled() != 2 || p.ActiveCount() != 1 {
				t.Errorf("%d connections were opened and %d are open, want 2 and 1", s.dialled(), p.ActiveCount())
			}
		})
	}
}

// dead is a connection that swallows everything, and live one whose server grants everything.
func dead() redis.Conn {
	client, server := net.Pipe()
	go io.Copy(io.Discard, server)
	return redis.NewConn(client, 0, 0)
}

func live() redis.Conn {
	client, server := net.Pipe()
	go func() {
		for r := bufio.NewReader(server); ; {
			if _, err := readCommand(r); err != nil {
				return
			}
			io.WriteString(server, "+OK\r\n")
		}
	}()
	return redis.NewConn(client, 0, 0)
}

// TestOnBorrow hangs on each idle connection, and has no time limit. Even so, the Node tries other
// connections after Reconnect, as doc.go says.
func TestReconnectWhileTestOnBorrowHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 3
		dialled, full := 0, false
		var conns []redis.Conn
		var mu sync.Mutex // several goroutines dial at the end
		p := &redis.Pool{MaxIdle: idle}
		p.Dial = func() (redis.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			c := live
			if dialled++; dialled <= idle {
				c = dead
			}
			conns = append(conns, c())
			return conns[len(conns)-1], nil
		}
		p.TestOnBorrow = func(c redis.Conn, _ time.Time) error {
			if !full {
				return nil
			}
			_, err := c.Do("PING")
			return err
		}
		var taken []redis.Conn
		for range idle {
			taken = append(taken, p.Get())
		}
		for _, c := range taken {
			c.Close()
		}
		full = true
		n := New(p)
		start := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			ok, err := n.SetNX(ctx, "k", "t", time.Second)
			cancel()
			if ok {
				break
			}
			if time.Since(start) > 5*time.Minute {
				t.Fatalf("after 5 minutes: %v", err)
			}
			n.Reconnect("k")
		}
		mu.Lock()
		all := slices.Clone(conns)
		mu.Unlock()
		for _, c := range all {
			breakConn(c)
		}
		p.Close()
		synctest.Wait()
	})
}
