package redigo

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// calls lists every method that sends something and returns an error.
var calls = []struct {
	name string
	do   func(n *Node, ctx context.Context) error
}{
	{"SetNX", func(n *Node, ctx context.Context) error {
		_, err := n.SetNX(ctx, "k", "t", time.Second)
		return err
	}},
	{"EvalDelete", func(n *Node, ctx context.Context) error {
		_, err := n.EvalDelete(ctx, "k", "t")
		return err
	}},
	{"Extend", func(n *Node, ctx context.Context) error {
		_, err := n.Extend(ctx, "k", "t", time.Second)
		return err
	}},
	{"Eval", func(n *Node, ctx context.Context) error {
		_, err := n.Eval(ctx, lua.Acquire, []string{"k"}, []string{"t", "1"})
		return err
	}},
	{"Batch", func(n *Node, ctx context.Context) error {
		r := n.Batch(ctx, []backend.Op{{Kind: backend.OpSetNX, Key: "a", Token: "t", TTL: time.Second}, {Kind: backend.OpEvalDelete, Key: "b", Token: "t"}})
		if r[0].Err == nil || r[1].Err == nil {
			return errors.Join(errors.New("only one of the batch failed"), r[0].Err, r[1].Err)
		}
		return r[1].Err
	}},
	{"SetNX of 8 MB", func(n *Node, ctx context.Context) error {
		_, err := n.SetNX(ctx, "k", long[:8<<20], time.Second)
		return err
	}},
}

var long = strings.Repeat("t", 32<<20)

// Even without any time-out of the pool, a call ends at its deadline, and its connection does not
// return to the pool.
func TestStalledServer(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			s := serve(t, func(int, []string) string { return silent })
			p := s.pool(t)
			n := New(p)
			for range 2 {
				var err error
				soon(t, call.name, func() { err = call.do(n, short(t)) })
				if !errors.Is(err, context.DeadlineExceeded) || backend.NotExecuted(err) {
					t.Errorf("got %v, want a deadline exceeded, outcome unknown", err)
				}
			}
			eventually(t, "the pool has dropped the connections", func() bool { return p.ActiveCount() == 0 })
		})
	}
}

// If a server does not even read, the write hangs. redigo limits that only with a setting of the
// pool.
func TestStalledWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // never accepts; the kernel does
	p := &redis.Pool{MaxIdle: 8, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", l.Addr().String()) }}
	defer p.Close()
	before := runtime.NumGoroutine()
	n := New(p)
	soon(t, "SetNX", func() {
		_, err = n.SetNX(short(t), "k", long, time.Second)
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SetNX: got %v, want a deadline exceeded", err)
	}
	var r []backend.Result
	soon(t, "Batch", func() {
		r = n.Batch(short(t), []backend.Op{
			{Kind: backend.OpSetNX, Key: "a", Token: long, TTL: time.Second},
			{Kind: backend.OpSetNX, Key: "b", Token: "t", TTL: time.Second},
		})
	})
	for i, r := range r {
		if !errors.Is(r.Err, context.DeadlineExceeded) {
			t.Errorf("Batch, %d: got %v, want a deadline exceeded", i, r.Err)
		}
		if got, want := backend.NotExecuted(r.Err), i == 1; got != want {
			t.Errorf("Batch, %d: known not to have run: %v, want %v", i, got, want)
		}
	}
	eventually(t, "nothing stays behind", func() bool {
		return p.ActiveCount() == 0 && runtime.NumGoroutine() <= before
	})
}

// The late rest of a reply must never be read as the reply to the next command.
func TestTimeoutInsideReply(t *testing.T) {
	s := serve(t, func(conn int, args []string) string {
		if conn == 0 {
			return "$5\r\nhel" // the rest never arrives
		}
		return "+OK\r\n"
	})
	n := New(s.pool(t))
	if _, err := n.SetNX(short(t), "k", "t", time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline exceeded", err)
	}
	ok, err := n.SetNX(t.Context(), "k", "t", time.Second)
	if !ok || err != nil || s.dialled() != 2 {
		t.Errorf("the next call: got %v, %v on connection %d, want true, nil on the second", ok, err, s.dialled())
	}
}

// A command that a server has read but not answered may have run, so it is sent once.
func TestSentOnce(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			s := serve(t, func(int, []string) string { return hangUp })
			n := New(s.pool(t))
			err := call.do(n, t.Context())
			if err == nil || backend.NotExecuted(err) {
				t.Errorf("got %v, want an error of unknown outcome", err)
			}
			if seen := s.seen(); strings.Contains(seen, " ") || s.dialled() != 1 {
				t.Errorf("the server received %q on %d connections, want one command", seen, s.dialled())
			}
		})
	}
}

// A connection that the server closed while it was idle makes the call fail. The core repeats the
// call.
func TestStaleConnection(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	n := New(s.pool(t))
	if _, err := n.SetNX(t.Context(), "k", "t", time.Second); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	_ = s.conns[0].(*net.TCPConn).CloseWrite()
	s.mu.Unlock()
	if _, err := n.SetNX(t.Context(), "k", "t", time.Second); !errors.Is(err, io.EOF) || backend.NotExecuted(err) {
		t.Errorf("got %v, want EOF, outcome unknown", err)
	}
	if ok, err := n.SetNX(t.Context(), "k", "t", time.Second); !ok || err != nil {
		t.Errorf("the call after: got %v, %v, want true, nil", ok, err)
	}
}

func TestEndedContext(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	n := New(s.pool(t))
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, call := range calls {
			if err := call.do(n, ctx); !errors.Is(err, ctx.Err()) || !backend.NotExecuted(err) {
				t.Errorf("%s: got %v, want %v, not executed", call.name, err, ctx.Err())
			}
		}
		if err := n.Subscribe(ctx, "c", backend.Events{}); !errors.Is(err, ctx.Err()) || !backend.NotExecuted(err) {
			t.Errorf("Subscribe: got %v, want %v, not executed", err, ctx.Err())
		}
	}
	if s.dialled() != 0 {
		t.Errorf("%d connections were made", s.dialled())
	}
}

// endingPool returns a connection to a call whose ctx has ended meanwhile.
type endingPool struct {
	p   *redis.Pool
	end func()
}

func (e endingPool) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := e.p.GetContext(ctx)
	e.end()
	return c, err
}

func TestContextEndsInPool(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	p := s.pool(t)
	for range 20 {
		for _, call := range calls {
			ctx, cancel := context.WithCancel(t.Context())
			if err := call.do(New(endingPool{p, cancel}), ctx); !errors.Is(err, context.Canceled) || !backend.NotExecuted(err) {
				t.Errorf("%s: got %v, want cancelled, not executed", call.name, err)
			}
		}
	}
	if s.seen() != "" {
		t.Errorf("the server received %q, want nothing", s.seen())
	}
	eventually(t, "the connections are back", func() bool { st := p.Stats(); return st.ActiveCount == st.IdleCount })
}

// Without a deadline, only a cancellation ends a call.
func TestCancelWithoutDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(int, []string) string {
		cancel()
		return silent
	})
	n := New(s.pool(t))
	var err error
	soon(t, "SetNX", func() { _, err = n.SetNX(ctx, "k", "t", time.Second) })
	if !errors.Is(err, context.Canceled) || backend.NotExecuted(err) {
		t.Errorf("got %v, want cancelled, outcome unknown", err)
	}
}

// A dial that ignores the context is left behind, and its connection serves a later call. Few
// goroutines wait for such dials.
func TestSlowDial(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	var dialling atomic.Int32
	release := make(chan struct{})
	p := s.pool(t)
	p.Dial = func() (redis.Conn, error) {
		dialling.Add(1)
		<-release
		return redis.Dial("tcp", s.addr)
	}
	n := New(p)
	for range 3 * maxAsking {
		var err error
		soon(t, "SetNX", func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			_, err = n.SetNX(ctx, "k", "t", time.Second)
		})
		if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
			t.Fatalf("got %v, want a deadline exceeded, not executed", err)
		}
	}
	if got := dialling.Load(); got != maxAsking {
		t.Errorf("%d dials are under way, want %d", got, maxAsking)
	}

	// A call that waits for its turn gets it when a dial ends.
	ok, done := false, make(chan error, 1)
	go func() {
		var err error
		ok, err = n.SetNX(t.Context(), "k", "t", time.Second)
		done <- err
	}()
	close(release)
	if err := <-done; !ok || err != nil {
		t.Errorf("after the dials: got %v, %v, want true, nil", ok, err)
	}
	eventually(t, "the late connections are in the pool", func() bool {
		st := p.Stats()
		return st.IdleCount == maxAsking && st.ActiveCount == maxAsking
	})
	if got := dialling.Load(); got != maxAsking {
		t.Errorf("%d dials, want %d: the waiting call should find a late connection", got, maxAsking)
	}
}

// A pool may use an idle connection before it returns it. That has no deadline of its own either.
func TestSlowBorrow(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	p := s.pool(t)
	release := make(chan struct{})
	p.TestOnBorrow = func(redis.Conn, time.Time) error { <-release; return nil }
	n := New(p)
	if _, err := n.SetNX(t.Context(), "k", "t", time.Second); err != nil {
		t.Fatal(err)
	}
	var err error
	soon(t, "SetNX", func() { _, err = n.SetNX(short(t), "k", "t", time.Second) })
	if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
		t.Errorf("got %v, want a deadline exceeded, not executed", err)
	}
	close(release)
	eventually(t, "the connection is back", func() bool { return p.IdleCount() == 1 })
}

// Calls that find the pool empty must not take the only connection that another call has seen
// there. Otherwise that call itself would have to dial.
func TestIdleConnectionIsNotTaken(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	p := s.pool(t)
	n := New(p)
	if _, err := n.SetNX(t.Context(), "k", "t", time.Second); err != nil {
		t.Fatal(err)
	}
	taken := func() bool {
		c, _, ok := n.conns.idle(t.Context())
		if ok {
			n.conns.back(c)
		}
		return ok
	}
	if !taken() {
		t.Error("an unused idle connection was not taken")
	}
	n.conns.turn <- struct{}{}
	if taken() {
		t.Error("taken while another call uses it")
	}
	<-n.conns.turn
	n.conns.asking++
	if taken() {
		t.Error("taken while a goroutine may be about to take it")
	}
	n.conns.asking--
	one, two := p.Get(), p.Get()
	_ = two.Close()
	if taken() {
		t.Error("taken although another user of the pool may need it")
	}
	_ = one.Close()
	release := make(chan struct{})
	p.Dial = func() (redis.Conn, error) { <-release; return nil, io.EOF }
	var wg sync.WaitGroup
	soon(t, "a call", func() {
		for range 16 {
			wg.Go(func() {
				for range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
					_, _ = n.SetNX(ctx, "k", "t", time.Second)
					cancel()
				}
			})
		}
		wg.Wait()
	})
	close(release)
	eventually(t, "no goroutine is left", func() bool {
		n.conns.mu.Lock()
		defer n.conns.mu.Unlock()
		return n.conns.asking == 0 && n.conns.late == 0
	})
	if held := n.conns.held.Load(); held != 0 {
		t.Errorf("%d connections are counted as held, want 0", held)
	}
}

// A pool that drops old connections may dial although it has idle ones.
func TestIdleConnectionTooOld(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	p := s.pool(t)
	p.IdleTimeout = time.Millisecond
	n := New(p)
	if _, err := n.SetNX(t.Context(), "k", "t", time.Second); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	defer close(release)
	p.Dial = func() (redis.Conn, error) { <-release; return nil, io.EOF }
	<-time.After(2 * p.IdleTimeout)
	var err error
	soon(t, "SetNX", func() { _, err = n.SetNX(short(t), "k", "t", time.Second) })
	if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
		t.Errorf("got %v, want a deadline exceeded, not executed", err)
	}
}

func TestExhaustedPool(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	for _, wait := range []bool{false, true} {
		p := s.pool(t)
		p.MaxActive, p.Wait = 1, wait
		n := New(p)
		c := p.Get()
		var err error
		soon(t, "SetNX", func() { _, err = n.SetNX(short(t), "k", "t", time.Second) })
		want := redis.ErrPoolExhausted
		if wait {
			want = context.DeadlineExceeded
		}
		if !errors.Is(err, want) || !backend.NotExecuted(err) {
			t.Errorf("Wait %v: got %v, want %v, not executed", wait, err, want)
		}
		_ = c.Close()
		if ok, err := n.SetNX(t.Context(), "k", "t", time.Second); !ok || err != nil {
			t.Errorf("Wait %v, after the connection was returned: got %v, %v, want true, nil", wait, ok, err)
		}
	}
}

func TestDialRefused(t *testing.T) {
	s := serve(t, func(int, []string) string {
		return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	})
	p := &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", s.addr, redis.DialPassword("wrong")) }}
	_, err := New(p).SetNX(t.Context(), "k", "t", time.Second)
	var reply redis.Error
	if !errors.Is(err, backend.ErrRefused) || !backend.NotExecuted(err) || !errors.As(err, &reply) {
		t.Errorf("wrong password: got %v, want refused, wrapping the driver's error", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	p = &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", l.Addr().String()) }}
	_, err = New(p).SetNX(t.Context(), "k", "t", time.Second)
	var op *net.OpError
	if !backend.NotExecuted(err) || errors.Is(err, backend.ErrRefused) || !errors.As(err, &op) {
		t.Errorf("no server: got %v, want the dial's error, not executed", err)
	}
}

// plain hides everything except redis.Conn, and timed everything except that and time-outs.
type (
	plain struct{ redis.Conn }
	timed struct{ redis.ConnWithTimeout }
)

func TestConnectionsThatCannotBeBounded(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	for name, wrap := range map[string]func(redis.Conn) redis.Conn{
		"no time-outs": func(c redis.Conn) redis.Conn { return plain{c} },
		"no contexts":  func(c redis.Conn) redis.Conn { return timed{c.(redis.ConnWithTimeout)} },
	} {
		p := s.pool(t)
		dial := p.Dial
		p.Dial = func() (redis.Conn, error) {
			c, err := dial()
			return wrap(c), err
		}
		for _, call := range calls {
			if err := call.do(New(p), t.Context()); !errors.Is(err, errors.ErrUnsupported) || !backend.NotExecuted(err) {
				t.Errorf("%s, %s: got %v, want unsupported, not executed", name, call.name, err)
			}
		}
	}
	if s.seen() != "" {
		t.Errorf("the server received %q, want nothing", s.seen())
	}
}

// others is a pool of another type.
type others struct{ p *redis.Pool }

func (o others) GetContext(ctx context.Context) (redis.Conn, error) { return o.p.GetContext(ctx) }

func TestOtherPool(t *testing.T) {
	s := serve(t, func(int, []string) string { return "+OK\r\n" })
	n := New(others{s.pool(t)})
	for range 3 {
		if ok, err := n.SetNX(t.Context(), "k", "t", time.Second); !ok || err != nil {
			t.Errorf("got %v, %v, want true, nil", ok, err)
		}
	}
	if s.dialled() != 1 {
		t.Errorf("%d connections, want one that is reused", s.dialled())
	}
}

// The first use of a script takes one round trip, like any other use.
func TestTextFirst(t *testing.T) {
	s := serve(t, func(int, []string) string { return ":1\r\n" })
	n := New(s.pool(t))
	for range 3 {
		if ok, err := n.EvalDelete(t.Context(), "k", "t"); !ok || err != nil {
			t.Errorf("EvalDelete: got %v, %v, want true, nil", ok, err)
		}
	}
	if got, want := s.seen(), "EVAL EVALSHA EVALSHA"; got != want {
		t.Errorf("the server received %q, want %q", got, want)
	}
}

func TestReplies(t *testing.T) {
	replies := map[string]string{}
	s := serve(t, func(_ int, args []string) string { return replies[args[0]] })
	p := s.pool(t)
	n := New(p)
	for _, script := range lua.All { // by its hash, as from the second use on
		n.loaded.Add(script)
	}
	ctx := t.Context()

	replies["SET"] = "$-1\r\n"
	if ok, err := n.SetNX(ctx, "k", "t", time.Second); ok || err != nil {
		t.Errorf("SetNX of a held key: got %v, %v, want false, nil", ok, err)
	}
	for _, bad := range []string{":1\r\n", "+QUEUED\r\n"} {
		replies["SET"] = bad
		if ok, err := n.SetNX(ctx, "k", "t", time.Second); ok || err == nil {
			t.Errorf("SetNX answered %q: got %v, %v, want an error", bad, ok, err)
		}
	}
	for _, bad := range []string{"$2\r\nhi\r\n", ":2\r\n"} {
		replies["EVALSHA"] = bad
		if ok, err := n.EvalDelete(ctx, "k", "t"); ok || err == nil {
			t.Errorf("EvalDelete answered %q: got %v, %v, want an error", bad, ok, err)
		}
	}
	replies["EVALSHA"] = "*3\r\n:1\r\n$1\r\nv\r\n:-1\r\n"
	if r, err := n.Eval(ctx, lua.Inspect, []string{"k"}, nil); err != nil || !slices.Equal(r, backend.Reply{int64(1), "v", int64(-1)}) {
		t.Errorf("Eval: got %v, %v", r, err)
	}
	for _, text := range []string{
		"NOPERM this user has no permissions to run the 'evalsha' command",
		"ERR unknown command 'EVALSHA', with args beginning with: ",
	} {
		replies["EVALSHA"] = "-" + text + "\r\n"
		replies["EVAL"] = "-" + strings.NewReplacer("evalsha", "eval", "EVALSHA", "EVAL").Replace(text) + "\r\n"
		if _, err := n.Eval(ctx, lua.Acquire, []string{"k"}, []string{"t", "1"}); !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, backend.ErrRefused) {
			t.Errorf("Eval answered %q: got %v, want unsupported and refused", text, err)
		}
		if _, err := n.EvalDelete(ctx, "k", "t"); errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, backend.ErrRefused) {
			t.Errorf("EvalDelete answered %q: got %v, want refused", text, err)
		}
	}
	// From now on that node sends only texts.
	n = New(p)
	for _, script := range lua.All {
		n.loaded.Add(script)
	}
	replies["EVALSHA"] = "-NOPERM No permissions to access a key\r\n"
	if _, err := n.Eval(ctx, lua.Acquire, []string{"k"}, []string{"t", "1"}); errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, backend.ErrRefused) {
		t.Errorf("Eval on a forbidden key: got %v, want only refused", err)
	}
	replies["EVALSHA"], replies["EVAL"] = "-NOSCRIPT No matching script. Please use EVAL.\r\n", ":1\r\n"
	if ok, err := n.EvalDelete(ctx, "k", "t"); !ok || err != nil {
		t.Errorf("EvalDelete of an unknown script: got %v, %v, want true, nil", ok, err)
	}
	if s.dialled() != 1 {
		t.Errorf("%d connections, want 1: an error reply does not break one", s.dialled())
	}
}

func TestErrorReplies(t *testing.T) {
	const refused, notExecuted, unknown = "refused", "not executed", "unknown"
	for _, test := range []struct{ reply, want string }{
		{"NOPERM this user has no permissions to run the 'set' command", refused},
		{"READONLY You can't write against a read only replica.", notExecuted},
		{"ERR something else", unknown},
		// Errors of a command inside a script: Redis 6, 7.0 and 8.
		{"ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.  ", notExecuted},
		{"ERR Error running script (call to f_8f18fe90be97286fead79ae459e2f17b459c320d): @user_script:1: @user_script: 1: The user executing the script can't run this command or subcommand ", refused},
		{"ERR The user executing the script can't run this command or subcommand script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.", refused},
		{"ERR ACL failure in script: User u has no permissions to run the 'get' command script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.", refused},
		{"@user_script: 1: -READONLY You can't write against a read only replica.", notExecuted},
	} {
		s := serve(t, func(int, []string) string { return "-" + test.reply + "\r\n" })
		n := New(s.pool(t))
		for _, c := range calls {
			err := c.do(n, t.Context())
			got := unknown
			if errors.Is(err, backend.ErrRefused) {
				got = refused
			} else if backend.NotExecuted(err) {
				got = notExecuted
			}
			var reply redis.Error
			if got != test.want || !errors.As(err, &reply) {
				t.Errorf("%s: %v is %s, want %s and a redis.Error", c.name, err, got, test.want)
			}
		}
	}
}

// Errors name a node without a name by the address of its server. The address is known after the
// dial if the dial has the context of the call, and otherwise after a connection has failed.
func TestAddress(t *testing.T) {
	answer := "+OK\r\n"
	s := serve(t, func(int, []string) string { return answer })
	withContext := s.pool(t)
	withContext.DialContext = func(ctx context.Context) (redis.Conn, error) { return redis.DialContext(ctx, "tcp", s.addr) }
	own, err := NewPool("redis://" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	for _, test := range []struct {
		name     string
		pool     *redis.Pool
		at       string // after the first call
		commands string
	}{
		{"DialContext", withContext, s.addr, "SET SET"},
		{"NewPool", own, s.addr, "SET SET"},
		{"Dial", s.pool(t), "", "SET SET"},
	} {
		s.mu.Lock()
		s.commands, answer = nil, "+OK\r\n"
		s.mu.Unlock()
		n := New(test.pool)
		if at, instead := n.Address(); at != "" || !instead {
			t.Errorf("%s: before a connection: %q, %v, want nothing, true", test.name, at, instead)
		}
		n.SetNX(t.Context(), "k", "t", time.Second)
		if at, _ := n.Address(); at != test.at {
			t.Errorf("%s: after a call: %q, want %q", test.name, at, test.at)
		}
		s.mu.Lock()
		answer = silent
		s.mu.Unlock()
		n.SetNX(short(t), "k", "t", time.Second)
		if at, instead := n.Address(); at != s.addr || !instead {
			t.Errorf("%s: after a connection failed: %q, %v, want %q, true", test.name, at, instead, s.addr)
		}
		if got := s.seen(); got != test.commands {
			t.Errorf("%s: the server received %q, want %q", test.name, got, test.commands)
		}
	}
	if _, instead := New(s.pool(t), WithName("a")).Address(); instead {
		t.Error("errors name a node with a name by its address")
	}
}

func TestNewAndName(t *testing.T) {
	var none *redis.Pool
	var nobody *others
	for _, p := range []Pool{nil, none, nobody} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%#v) does not panic", p)
				}
			}()
			New(p)
		}()
	}

	p, q := &redis.Pool{}, &redis.Pool{}
	if a, b := New(p).Name(), New(p).Name(); a != b || a == "" {
		t.Errorf("two nodes over one pool are named %q and %q, want the same", a, b)
	}
	if a, b := New(p).Name(), New(q).Name(); a == b {
		t.Errorf("nodes over two pools are both named %q", a)
	}
	if a, b := New(others{p}).Name(), New(others{p}).Name(); a == b {
		t.Errorf("nodes over two pools that cannot be compared are both named %q", a)
	}
	if got := New(p, WithName("a")).Name(); got != "a" {
		t.Errorf("WithName: got %q, want %q", got, "a")
	}
}

// ping sends a PING to the server.
func ping(ctx context.Context, n *Node) error {
	_, err := n.do(ctx, "PING")
	return err
}
