package embedded

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// client is a connection to a server.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(words ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, strings.Join(words, " ")+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// reply returns the first line of a reply, or "" if none comes within d.
func (c *client) reply(d time.Duration) string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(d))
	line, err := c.in.ReadString('\n')
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return ""
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// command is an inline command in the array form that the server reads.
func command(words ...string) string {
	var b strings.Builder
	b.WriteString("*" + string(rune('0'+len(words))) + "\r\n")
	for _, w := range words {
		b.WriteString("$" + string(rune('0'+len(w))) + "\r\n" + w + "\r\n")
	}
	return strings.TrimSuffix(b.String(), "\r\n")
}

const long = 20 * time.Second

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestServerExpiresKeys(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	c.send(command("SET", "k", "v", "PX", "50"))
	if got := c.reply(long); got != "+OK" {
		t.Fatalf("SET: %q", got)
	}
	if n := s.Commands(); n != 1 {
		t.Errorf("%d commands, want 1", n)
	}
	for deadline := time.Now().Add(long); s.Redis().Exists("k"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the key does not expire")
		}
	}
}

func TestServerKillAndRestart(t *testing.T) {
	s := start(t)
	addr := s.Addr()
	c := dial(t, s)
	c.send(command("SET", "k", "v"))
	if got := c.reply(long); got != "+OK" {
		t.Fatalf("SET: %q", got)
	}

	s.Kill()
	_ = c.conn.SetReadDeadline(time.Now().Add(long))
	if _, err := c.in.ReadByte(); err == nil || errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("a connection of a dead server: %v, want a broken one", err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want a refusal", err)
	}
	if s.Redis() != nil {
		t.Error("there is a server")
	}

	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr {
		t.Errorf("the address became %s, was %s", s.Addr(), addr)
	}
	c = dial(t, s)
	c.send(command("GET", "k"))
	if got := c.reply(long); got != "$-1" {
		t.Errorf("GET: %q, want nothing", got)
	}
}

func TestServerHang(t *testing.T) {
	s := start(t)
	before := dial(t, s)
	before.send(command("PING"))
	if got := before.reply(long); got != "+PONG" {
		t.Fatalf("PING: %q", got)
	}
	s.Hang()
	after := dial(t, s)
	for _, c := range []*client{before, after} {
		c.send(command("PING"))
		if got := c.reply(50 * time.Millisecond); got != "" {
			t.Errorf("a server that hangs answers %q", got)
		}
	}
	s.Resume()
	for _, c := range []*client{before, after} {
		if got := c.reply(long); got != "+PONG" {
			t.Errorf("PING: %q", got)
		}
	}
}

// A server that hangs can be killed, and closed.
func TestServerKillWhileItHangs(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	s.Hang()
	c.send(command("PING"))
	s.Kill()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = dial(t, s)
	c.send(command("PING"))
	if got := c.reply(long); got != "+PONG" {
		t.Errorf("PING: %q", got)
	}
	s.Hang()
}
