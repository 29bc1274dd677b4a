package netfault_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/internal/resp"
)

// within is the limit of every wait in these tests; none takes as long.
const within = 5 * time.Second

// server answers every command with its last argument, and records what it ran.
type server struct {
	net.Listener
	ran chan string // every command, as one line
	wg  sync.WaitGroup
}

func serve(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: l, ran: make(chan string, 1000)}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.handle(c) })
		}
	})
	t.Cleanup(func() { l.Close(); s.wg.Wait() })
	return s
}

func (s *server) handle(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		_, args, err := resp.ReadCommand(r)
		if err != nil {
			return
		}
		s.ran <- strings.Join(args, " ")
		switch args[0] {
		case "HELLO":
			io.WriteString(c, "%1\r\n+proto\r\n:3\r\n")
		case "SUBSCRIBE":
			io.WriteString(c, ">2\r\n+subscribe\r\n:1\r\n>2\r\n+message\r\n+m\r\n")
		default:
			io.WriteString(c, "$"+string(resp.AppendCommand(nil, args[len(args)-1]))[len("*1\r\n$"):])
		}
	}
}

// next returns the next command that the server ran.
func (s *server) next(t *testing.T) string {
	t.Helper()
	select {
	case cmd := <-s.ran:
		return cmd
	case <-time.After(within):
		t.Fatal("no command reached the server")
		return ""
	}
}

// none fails the test if the server has run a command.
func (s *server) none(t *testing.T) {
	t.Helper()
	select {
	case cmd := <-s.ran:
		t.Errorf("the server ran %.80q", cmd)
	default:
	}
}

type client struct {
	*net.TCPConn
	r *bufio.Reader
}

func dial(t *testing.T, p *netfault.Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(within))
	return &client{c.(*net.TCPConn), bufio.NewReader(c)}
}

func (c *client) send(args ...string) {
	c.Write(resp.AppendCommand(nil, args...)) // an error shows in the reply
}

func (c *client) reply() (any, error) {
	_, v, err := resp.ReadReply(c.r)
	return v, err
}

// do fails the test unless the command gets the server's reply.
func (c *client) do(t *testing.T, args ...string) {
	t.Helper()
	c.send(args...)
	if v, err := c.reply(); err != nil || v != args[len(args)-1] {
		t.Fatalf("%.80q: %.80v, %v", args, v, err)
	}
}

// silent fails the test if a reply arrives within a short time.
func (c *client) silent(t *testing.T) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	defer c.SetDeadline(time.Now().Add(within))
	if v, err := c.reply(); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Fatalf("got %v, %v; want no answer", v, err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// gone fails the test unless the connection has ended.
func (c *client) gone(t *testing.T) {
	t.Helper()
	if v, err := c.reply(); err == nil || isTimeout(err) {
		t.Fatalf("got %v, %v; want a connection that has ended", v, err)
	}
}

func wait(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPass(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	c := dial(t, p)
	c.do(t, "SET", "k", strings.Repeat("x\r\n", 1<<20))
	io.WriteString(c, "PING inline\r\n")
	if v, err := c.reply(); v != "inline" {
		t.Errorf("inline command: %v, %v", v, err)
	}
	for range 100 { // pipelined
		c.send("GET", "a")
		c.send("get", "b")
	}
	for i := range 200 {
		if v, err := c.reply(); v != []string{"a", "b"}[i%2] {
			t.Fatalf("reply %d: %v, %v", i, v, err)
		}
	}
	if got := p.Count("Get", "SET"); got != 201 {
		t.Errorf("Count(get, set) = %d, want 201", got)
	}
	if got := p.Count(); got != 202 {
		t.Errorf("Count() = %d, want 202", got)
	}
	dial(t, p).do(t, "PING", "x")
	if open, accepted := p.Connections(); open != 2 || accepted != 2 {
		t.Errorf("Connections() = %d, %d; want 2, 2", open, accepted)
	}
	c.Close()
	wait(t, func(ctx context.Context) error { return p.WaitCount(ctx, 203) })
}

func TestDelay(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	const up, down = 20 * time.Millisecond, 40 * time.Millisecond
	p.Delay(netfault.ToServer, up)
	p.Delay(netfault.ToClient, down)
	c := dial(t, p)

	start := time.Now()
	c.send("PING", "x")
	s.next(t)
	if d := time.Since(start); d < up {
		t.Errorf("the server got the command after %v, want at least %v", d, up)
	}
	c.reply()
	if d := time.Since(start); d < up+down {
		t.Errorf("answered after %v, want at least %v", d, up+down)
	}

	start = time.Now()
	for range 20 {
		c.send("PING", "x")
	}
	for range 20 {
		c.reply()
	}
	if d := time.Since(start); d < up+down || d > 10*(up+down) {
		t.Errorf("20 pipelined commands took %v, want about %v", d, up+down)
	}
}

func TestDelayConnect(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	old := dial(t, p)
	old.do(t, "PING", "x")
	const setup = 80 * time.Millisecond
	p.DelayConnect(setup)

	c := dial(t, p)
	start := time.Now()
	old.do(t, "PING", "x")
	if d := time.Since(start); d >= setup {
		t.Errorf("on an older connection: %v", d)
	}
	c.do(t, "PING", "x")
	if d := time.Since(start); d < setup*9/10 { // accepted slightly before start
		t.Errorf("the first command took %v, want %v", d, setup)
	}
	start = time.Now()
	c.do(t, "PING", "x")
	if d := time.Since(start); d >= setup {
		t.Errorf("the second command took %v", d)
	}
}

func TestHold(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	c := dial(t, p)
	c.do(t, "PING", "x")
	s.next(t)

	p.Hold()
	late := dial(t, p) // the proxy accepts a new connection
	late.send("SET", "late", "1")
	c.send("SET", "k", "1")
	c.send("SET", "k", "2")
	wait(t, func(ctx context.Context) error { return p.WaitCount(ctx, 3, "SET") })
	late.Close() // its command is still under way
	c.silent(t)
	s.none(t)
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	var order []string
	for range 3 {
		if cmd := s.next(t); cmd != "SET late 1" {
			order = append(order, cmd)
		}
	}
	if got := strings.Join(order, ", "); got != "SET k 1, SET k 2" {
		t.Errorf("the server ran %s", got)
	}

	c.reply()
	c.reply()
	p.Hold(netfault.ToClient)
	c.send("GET", "k")
	s.next(t) // runs
	c.silent(t)
	p.Resume()
	if v, err := c.reply(); v != "k" {
		t.Errorf("after Resume: %v, %v", v, err)
	}
}

func TestDiscard(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	c, idle := dial(t, p), dial(t, p)
	idle.do(t, "PING", "x")
	s.next(t)
	p.Discard(netfault.ToClient)
	c.send("SET", "k", "1")
	s.next(t)
	c.silent(t)
	p.Resume()
	c.gone(t)
	idle.do(t, "PING", "x") // had lost nothing
	s.next(t)

	p.Discard()
	idle.send("SET", "k", "2")
	idle.silent(t)
	s.none(t)
}

// Forgotten connections are silent on both sides, even when one side closes. New connections
// work.
func TestForget(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	old, closed := dial(t, p), dial(t, p)
	for _, c := range []*client{old, closed} {
		c.do(t, "PING", "x")
		s.next(t)
	}
	p.Forget()
	old.send("SET", "k", "1")
	old.silent(t)
	s.none(t)
	closed.Close()
	dial(t, p).do(t, "PING", "x")
	s.next(t)
	if open, _ := p.Connections(); open != 3 {
		t.Errorf("%d connections are open at the server, want the new one and the two forgotten ones", open)
	}
	p.Resume()
	old.gone(t)
}

// Open connections stay with the old target, and new connections lead to the new one.
func TestRedirect(t *testing.T) {
	before, after := serve(t), serve(t)
	p := netfault.New(t, before.Addr().String())
	old := dial(t, p)
	old.do(t, "PING", "x")
	before.next(t)
	p.Redirect(after.Addr().String())
	old.do(t, "PING", "x")
	before.next(t)
	dial(t, p).do(t, "PING", "x")
	after.next(t)
}

func TestLoseReply(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	lost := p.LoseReply(1, netfault.Command("set").With("k"))

	c := dial(t, p)
	c.send("SET", "other", "1")
	c.send("GET", "k")
	c.send("SET", "k", "2")
	for _, want := range []string{"1", "k"} {
		if v, err := c.reply(); v != want {
			t.Fatalf("an earlier reply: %v, %v; want %s", v, err, want)
		}
	}
	c.gone(t)
	for _, want := range []string{"SET other 1", "GET k", "SET k 2"} {
		if got := s.next(t); got != want {
			t.Errorf("the server ran %q, want %q", got, want)
		}
	}
	wait(t, func(ctx context.Context) error { return lost.Wait(ctx, 1) })

	dial(t, p).do(t, "SET", "k", "3") // one command was to be lost
	if lost.Hits() != 1 {
		t.Errorf("Hits() = %d, want 1", lost.Hits())
	}
}

func TestLoseReplyAmongPushes(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	p.LoseReply(1, netfault.Command("SET"))
	c := dial(t, p)
	for _, cmd := range []string{"HELLO 3", "SUBSCRIBE ch", "GET a", "SET k"} {
		c.send(strings.Fields(cmd)...)
	}
	for i := range 4 { // the greeting, two pushes, and the reply to GET
		if _, err := c.reply(); err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
	}
	c.gone(t)
}

func TestLoseRequest(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	fault := p.LoseRequest(2, netfault.Command("SET"))
	for i := 1; i <= 2; i++ {
		c := dial(t, p)
		c.do(t, "GET", "k")
		s.next(t)
		c.send("SET", "k", "1")
		c.gone(t)
		wait(t, func(ctx context.Context) error { return fault.Wait(ctx, i) })
		s.none(t)
	}
	dial(t, p).do(t, "SET", "k", "1")
}

func TestStallRequest(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	fault := p.StallRequest(1, netfault.Command("SET"))
	c := dial(t, p)
	c.send("SET", "k", "1")
	c.send("GET", "k") // is queued behind it
	wait(t, func(ctx context.Context) error { return fault.Wait(ctx, 1) })
	dial(t, p).do(t, "SET", "k", "2")
	if got := s.next(t); got != "SET k 2" {
		t.Fatalf("the server ran %q first", got)
	}
	c.Close()
	wait(t, func(ctx context.Context) error { return p.WaitCount(ctx, 3) })
	s.none(t)
	fault.Remove()
	if a, b := s.next(t), s.next(t); a != "SET k 1" || b != "GET k" {
		t.Errorf("then it ran %q, %q", a, b)
	}
}

func TestCutAndRefuse(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	c := dial(t, p)
	c.do(t, "PING", "x")
	p.Cut()
	c.gone(t)
	c = dial(t, p)
	c.do(t, "PING", "x")

	p.Refuse()
	c.gone(t)
	if c, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial = %v, %v; want it refused", c, err)
	}
	wait(t, p.WaitClosed)
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	dial(t, p).do(t, "PING", "x")
}

func TestNoServer(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	c := dial(t, p)
	c.do(t, "PING", "x")
	s.Close()
	c.do(t, "PING", "x")                                 // the fake still serves this connection
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // it may already be reset
		defer c.Close()
		c.SetDeadline(time.Now().Add(within))
		(&client{c.(*net.TCPConn), bufio.NewReader(c)}).gone(t)
	}
}

func TestOpaque(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // echoes; ends with l or with its connection
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	p := netfault.New(t, l.Addr().String())
	c := dial(t, p)
	sent := "\x16\x03\x01\x00*1\r\n$"
	io.WriteString(c, sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != sent {
		t.Errorf("echoed %q, %v; want %q", got, err, sent)
	}
	if n := p.Count(); n != 0 {
		t.Errorf("Count() = %d on a connection without RESP", n)
	}
}

func TestClose(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	p.StallRequest(1, netfault.Command("SET"))
	stalled, held, slow := dial(t, p), dial(t, p), dial(t, p)
	stalled.send("SET", "k", "1")
	held.do(t, "PING", "x")
	p.Delay(netfault.ToServer, time.Hour)
	slow.send("PING", "x")
	wait(t, func(ctx context.Context) error { return p.WaitCount(ctx, 3) })
	p.Hold()
	held.send("PING", "x")
	wait(t, func(ctx context.Context) error { return p.WaitCount(ctx, 4) })

	closed := make(chan struct{})
	go func() { defer close(closed); p.Close(); p.Close() }()
	select {
	case <-closed: // every goroutine has ended
	case <-time.After(within):
		t.Fatal("Close waits")
	}
	for _, c := range []*client{stalled, held, slow} {
		c.gone(t)
	}
	if err := p.Resume(); err != nil {
		t.Errorf("Resume after Close: %v", err)
	}
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("a closed proxy accepts connections")
	}
}

func TestReject(t *testing.T) {
	s := serve(t)
	p := netfault.New(t, s.Addr().String())
	c := dial(t, p)
	f := p.Reject(1, netfault.Command("set"), "NOPERM no")
	c.send("PING", "x")
	c.send("SET", "k", "1")
	c.send("GET", "k")
	for _, want := range []any{"x", resp.Error("NOPERM no"), "k"} {
		if got, err := c.reply(); got != want || err != nil {
			t.Errorf("the reply is %v, %v, want %v", got, err, want)
		}
	}
	for _, want := range []string{"PING x", "PING", "GET k"} { // a command without effect keeps the order
		if got := s.next(t); got != want {
			t.Errorf("the server got %q, want %q", got, want)
		}
	}
	if n := f.Hits(); n != 1 {
		t.Errorf("%d commands were rejected, want 1", n)
	}
	c.do(t, "SET", "k", "1")
}
