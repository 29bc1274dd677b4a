package servers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/resp"
)

var bg = context.Background()

// onEachRung runs a test on every rung that this machine has, each with its own harness.
func onEachRung(t *testing.T, test func(t *testing.T, h *harness)) {
	for _, step := range ladder {
		t.Run(step.name, func(t *testing.T) {
			r, _, err := step.open(bg, settings{})
			if err != nil {
				t.Skipf("no %s here: %v", step.name, err)
			}
			h := newHarness(r)
			defer h.close()
			was := current.Swap(h)
			defer current.Store(was)
			test(t, h)
		})
	}
}

// conn is a client's connection.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, s *Server) conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return conn{c, bufio.NewReader(c)}
}

func (c conn) send(args ...string) { c.Write(resp.AppendCommand(nil, args...)) }

func (c conn) reply(within time.Duration) (any, error) {
	c.SetReadDeadline(time.Now().Add(within))
	_, v, err := resp.ReadReply(c.r)
	return v, err
}

func refused(s *Server) error {
	c, err := net.Dial("tcp", s.Addr())
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("dial %s: %v, want it refused", s, err)
	}
	return nil
}

func TestStart(t *testing.T) {
	Each(t, func(t *testing.T, kind Kind) {
		var first []string
		t.Run("first", func(t *testing.T) {
			list := Start(t, kind, 3)
			first = addrs(list)
			if len(list) != 3 || first[0] == first[1] || first[1] == first[2] || first[0] == first[2] {
				t.Fatalf("Start gave %v", first)
			}
			for _, s := range list {
				if kind != Embedded { // an embedded server does not report its kind
					if got, _ := kindOf(fmt.Sprint(s.Do(t, "INFO", "server"))); got != kind || s.Kind() != kind {
						t.Errorf("a %s says that it is %s", s.Kind(), got)
					}
				}
				s.Do(t, "SET", "k", 1, "PX", 60_000)
				s.Do(t, "EVAL", "return 1", 0)
			}
			if got := list[0].Do(t, "GET", []byte("k")); got != "1" {
				t.Errorf("GET k = %v", got)
			}
			if got := list[0].Keys(t); !slices.Equal(got, []string{"k"}) {
				t.Errorf("Keys = %q", got)
			}
			if _, err := list[0].Query(bg, "GET"); err == nil {
				t.Error("an error reply is no error")
			}
		})
		t.Run("again", func(t *testing.T) {
			for _, s := range Start(t, kind, 3) {
				if !slices.Contains(first, s.Addr()) {
					t.Errorf("%s was started for this test, although others were free", s)
				}
				if keys := s.Keys(t); len(keys) > 0 {
					t.Errorf("%s has keys of another test: %q", s, keys)
				}
				if _, err := s.Query(bg, "EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0); err == nil || !strings.Contains(err.Error(), "NOSCRIPT") {
					t.Errorf("%s knows a script of another test: %v", s, err)
				}
			}
		})
	})
}

// TestOutages checks what tests rely on when they pause, kill and restart servers.
func TestOutages(t *testing.T) {
	onEachRung(t, func(t *testing.T, h *harness) {
		var addr string
		t.Run("pause", func(t *testing.T) {
			s := Start(t, Any, 1, WithOutages())[0]
			addr = s.Addr()
			before := dial(t, s)
			before.send("PING")
			if v, err := before.reply(time.Second); v != "PONG" {
				t.Fatalf("%v, %v", v, err)
			}
			s.Pause(t)
			s.Pause(t)
			after := dial(t, s)
			after.send("SET", "after", "1")
			before.send("SET", "before", "1")
			for _, c := range []conn{before, after} {
				if v, err := c.reply(50 * time.Millisecond); !isTimeout(err) {
					t.Errorf("a paused server answered %v, %v", v, err)
				}
			}
			after.Close()
			s.Resume(t)
			s.Resume(t)
			if err := until(within(t), func() error {
				if keys := s.Keys(t); len(keys) != 2 {
					return fmt.Errorf("the keys are %q, so it has not yet run what it was sent", keys)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
		t.Run("kill", func(t *testing.T) {
			s := Start(t, Any, 1, WithOutages())[0]
			if s.Addr() != addr {
				t.Errorf("%s is not the server of before: %s", s, addr)
			}
			for _, end := range []func(testing.TB){s.Kill, s.Stop} {
				s.Do(t, "SET", "k", 1)
				s.Do(t, "SCRIPT", "LOAD", "return 1")
				c := dial(t, s)
				end(t)
				end(t)
				if v, err := c.reply(time.Second); err == nil || isTimeout(err) {
					t.Errorf("the connection: %v, %v", v, err)
				}
				if err := refused(s); err != nil {
					t.Error(err)
				}
				s.Start(t)
				s.Start(t)
				if keys := s.Keys(t); len(keys) > 0 {
					t.Errorf("after a restart it has %q", keys)
				}
			}
			s.Do(t, "SET", "k", 1)
			s.Restart(t)
			if keys := s.Keys(t); len(keys) > 0 {
				t.Errorf("after Restart it has %q", keys)
			}
			s.Kill(t) // the next test starts it again
		})
		t.Run("healed", func(t *testing.T) {
			s := Start(t, Any, 1, WithOutages())[0]
			if s.Addr() != addr {
				t.Errorf("the killed server is %s, not %s", s, addr)
			}
			s.Pause(t) // the next test resumes it
		})
		t.Run("healed again", func(t *testing.T) {
			s := Start(t, Any, 1, WithOutages())[0]
			s.Do(t, "PING")
		})
		t.Run("expiry", func(t *testing.T) {
			s := Start(t, Any, 1)[0]
			s.Do(t, "SET", "k", 1, "PX", 30)
			WaitEmpty(t, 2*time.Second, s)
		})
	})
}

func TestAOF(t *testing.T) {
	s := Start(t, Any, 1, WithAOF(), WithOutages())[0]
	s.Do(t, "SET", "k", 1)
	s.Kill(t)
	s.Start(t)
	if got := s.Do(t, "GET", "k"); got != "1" {
		t.Errorf("after Kill and Start GET k = %v, want 1", got)
	}
	// A server that is killed while it is paused must not run what it was sent.
	s.Pause(t)
	c := dial(t, s)
	c.send("SET", "late", "1")
	s.Kill(t)
	if v, err := c.reply(time.Second); err == nil || isTimeout(err) {
		t.Errorf("the connection: %v, %v", v, err)
	}
	s.Start(t)
	if keys := s.Keys(t); !slices.Equal(keys, []string{"k"}) {
		t.Errorf("keys %q, want only k", keys)
	}
}

// Own is what the server itself counts while nobody else uses it. It starts again from zero after
// a restart.
func TestOwn(t *testing.T) {
	s := Start(t, Any, 1, WithOutages(), WithoutReuse())[0]
	if AreEmbedded() {
		t.Skip("embedded servers do not count")
	}
	counted := func() (connections, commands int64) {
		t.Helper()
		info, err := s.Query(bg, "INFO", "stats")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(fmt.Sprint(info)) {
			fmt.Sscanf(line, "total_connections_received:%d", &connections)
			fmt.Sscanf(line, "total_commands_processed:%d", &commands)
		}
		ownConnections, ownCommands := s.Own()
		return connections - ownConnections, commands + 1 - ownCommands // including this INFO
	}
	for range 2 {
		connections, commands := counted()
		for range 10 {
			s.Do(t, "PING")
		}
		if nowConnections, nowCommands := counted(); nowConnections != connections || nowCommands != commands {
			t.Errorf("without the test's own there were %d connections and %d commands, and after ten queries %d and %d", connections, commands, nowConnections, nowCommands)
		}
		s.Restart(t)
		if connections, commands := s.Own(); connections > 3 || commands > 3 {
			t.Errorf("after a restart: %d connections and %d commands of the test", connections, commands)
		}
	}
}

func TestSetConfig(t *testing.T) {
	if kinds := Kinds(t); kinds[0] == Embedded {
		t.Skip("embedded servers have no CONFIG")
	}
	var addr string
	t.Run("set", func(t *testing.T) {
		s := Start(t, Any, 1)[0]
		addr = s.Addr()
		s.SetConfig(t, "maxmemory", "12345678")
		s.SetConfig(t, "maxmemory", "23456789")
		if got := s.Do(t, "CONFIG", "GET", "maxmemory"); got.([]any)[1] != "23456789" {
			t.Errorf("maxmemory is %v", got)
		}
	})
	s := Start(t, Any, 1)[0]
	if got := s.Do(t, "CONFIG", "GET", "maxmemory"); s.Addr() != addr || got.([]any)[1] != "0" {
		t.Errorf("%s (was %s): maxmemory is %v for the next test", s, addr, got)
	}
}

func TestAuthentication(t *testing.T) {
	t.Run("password", func(t *testing.T) {
		s := Start(t, Any, 1, WithPassword("s:cr@t"))[0]
		s.Do(t, "SET", "k", 1)
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		if password, _ := u.User.Password(); password != "s:cr@t" || u.Scheme != "redis" || u.Host != s.Addr() {
			t.Errorf("URL() = %s", u)
		}
		c := dial(t, s)
		c.send("GET", "k")
		if v, err := c.reply(time.Second); !strings.Contains(fmt.Sprint(v), "NOAUTH") {
			t.Errorf("without a password: %v, %v", v, err)
		}
	})
	t.Run("user", func(t *testing.T) {
		s := Start(t, Any, 1, WithUser("locker", "pw", "~lock:*", "&lock:*", "+set", "+ping", "-@dangerous"))[0]
		s.Do(t, "SET", "admin", 1)
		if want := "redis://locker:pw@" + s.Addr() + "/0"; s.URL() != want {
			t.Errorf("URL() = %s, want %s", s.URL(), want)
		}
		c := dial(t, s)
		for _, try := range []struct{ command, want string }{
			{"SET lock:1 x", "NOAUTH"},
			{"AUTH locker pw", "OK"},
			{"SET lock:1 x", "OK"},
			{"SET other x", "NOPERM"},
			{"GET lock:1", "NOPERM"},
		} {
			c.send(strings.Fields(try.command)...)
			if v, err := c.reply(time.Second); !strings.HasPrefix(fmt.Sprint(v), try.want) {
				t.Errorf("%s: %v, %v; want %s", try.command, v, err, try.want)
			}
		}
	})
}

func TestTLS(t *testing.T) {
	s := Start(t, Any, 1, WithTLS(), WithOutages())[0]
	s.Do(t, "SET", "k", 1)
	if want := "rediss://" + s.Addr() + "/0"; s.URL() != want {
		t.Errorf("URL() = %s, want %s", s.URL(), want)
	}
	s.Restart(t)
	s.Do(t, "PING")

	// A client without a certificate is rejected.
	config := s.TLSConfig()
	config.Certificates = nil
	c, err := tls.Dial("tcp", s.Addr(), config)
	if err == nil {
		defer c.Close()
		var v any
		c.Write(resp.AppendCommand(nil, "PING"))
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, v, err = resp.ReadReply(bufio.NewReader(c)); err == nil {
			t.Errorf("a client without a certificate got the answer %v", v)
		}
	}

	ca, cert, key := s.TLSFiles(t)
	if pem, err := os.ReadFile(ca); err != nil || !strings.Contains(string(pem), "CERTIFICATE") {
		t.Errorf("%s: %q, %v", ca, pem, err)
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Error(err)
	}
}

func TestSentinel(t *testing.T) {
	set := StartSentinel(t, Any, 3)
	set.Master.Do(t, "SET", "k", 1)
	if got := set.Master.Do(t, "WAIT", 1, 5000); got != int64(1) {
		t.Fatalf("WAIT = %v", got)
	}
	master := set.Master
	master.Kill(t)
	set.WaitFailover(t)
	if set.Replica != master || set.Master.Do(t, "GET", "k") != "1" {
		t.Errorf("after the failover the master is %s", set.Master)
	}
	set.Master.Do(t, "SET", "k", 2)
}

func TestCluster(t *testing.T) {
	c := StartCluster(t, Any)
	owners := map[string]bool{}
	for _, key := range []string{"foo", "c", "hello"} { // slots 12182, 7365, 866
		owner := c.NodeOf(t, key)
		owners[owner.Addr()] = true
		owner.Do(t, "SET", key, 1)
		for _, node := range c.Nodes {
			if node == owner {
				continue
			}
			// Clients follow this address, so it must be one that they reach.
			if _, err := node.Query(bg, "GET", key); err == nil || !strings.Contains(err.Error(), "MOVED") || !strings.HasSuffix(err.Error(), " "+owner.Addr()) {
				t.Errorf("%s: GET %s: %v, want MOVED to %s", node, key, err, owner.Addr())
			}
		}
	}
	if len(owners) != 3 {
		t.Errorf("three keys on %v", owners)
	}
	if keys := c.Keys(t); len(keys) != 3 {
		t.Errorf("Keys() = %q", keys)
	}
	lost := c.NodeOf(t, "foo")
	lost.Pause(t)
	c.NodeOf(t, "c").Do(t, "SET", "c", 2)
	lost.Resume(t)
	lost.Do(t, "SET", "foo", 2)

	lost.Kill(t)
	if _, err := lost.Query(bg, "PING"); err == nil {
		t.Error("a killed node answers")
	}
	lost.Start(t)
	c.WaitWhole(t)
	if keys := lost.Keys(t); len(keys) > 0 {
		t.Errorf("after a restart it has %q", keys)
	}
}

func TestWaitEmpty(t *testing.T) {
	list := Start(t, Any, 2)
	list[1].Do(t, "SET", "left", 1)
	r := record(t, func(t testing.TB) { WaitEmpty(t, 20*time.Millisecond, list...) })
	if !r.failed || !strings.Contains(r.text, list[1].Addr()) || !strings.Contains(r.text, "left") || strings.Contains(r.text, list[0].Addr()) {
		t.Errorf("a key that stays: failed %t with %q", r.failed, r.text)
	}
	list[1].Flush(t)
	if r := record(t, func(t testing.TB) { WaitEmpty(t, time.Second, list...) }); r.failed {
		t.Errorf("no key: failed with %q", r.text)
	}
}

// within is the time limit for events that must happen soon.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(bg, 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}
