package goredis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// quiet is a logger for the driver, which otherwise logs the faults of these tests.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

// calls are the methods of a node that send something, with the number of commands that each
// sends.
var calls = []struct {
	name     string
	commands int
	call     func(ctx context.Context, n *Node) error
}{
	{"SetNX", 1, func(ctx context.Context, n *Node) error {
		_, err := n.SetNX(ctx, "key", "token", time.Second)
		return err
	}},
	{"EvalDelete", 1, func(ctx context.Context, n *Node) error {
		_, err := n.EvalDelete(ctx, "key", "token")
		return err
	}},
	{"Extend", 1, func(ctx context.Context, n *Node) error {
		_, err := n.Extend(ctx, "key", "token", time.Second)
		return err
	}},
	{"Eval", 1, func(ctx context.Context, n *Node) error {
		_, err := n.Eval(ctx, lua.Acquire, []string{"key"}, []string{"token", "1000"})
		return err
	}},
	{"Batch", 4, func(ctx context.Context, n *Node) error {
		var errs []error
		for _, r := range n.Batch(ctx, everyKind()) {
			errs = append(errs, r.Err)
		}
		// All operations have failed alike, or the call has not failed.
		if i := slices.Index(errs, nil); i >= 0 {
			return nil
		}
		return errs[len(errs)-1]
	}},
}

// everyKind returns one operation of each kind, each on its own key.
func everyKind() []backend.Op {
	return []backend.Op{
		{Kind: backend.OpSetNX, Key: "{k}1", Token: "t", TTL: time.Second},
		{Kind: backend.OpEvalDelete, Key: "{k}2", Token: "t"},
		{Kind: backend.OpExtend, Key: "{k}3", Token: "t", TTL: time.Second},
		{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{"{k}4"}, Args: []string{"t", "1000"}},
	}
}

func sent(s *fakeServer) int {
	n := 0
	for _, word := range []string{"set", "eval", "ping"} {
		n += len(s.received(word))
	}
	return n
}

// A write whose reply is lost must not be sent again, whatever the client's settings. As a
// control, the driver does so with its own commands.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	loseReply := func(args []string) string {
		switch args[0] {
		case "set", "eval", "evalsha", "ping":
			return drop
		}
		return ""
	}
	clients := []struct {
		name   string
		client func(t *testing.T, s *fakeServer) redis.UniversalClient
	}{
		{"default", func(t *testing.T, s *fakeServer) redis.UniversalClient {
			return newClient(t, &redis.Options{Addr: s.addr()})
		}},
		{"eager", func(t *testing.T, s *fakeServer) redis.UniversalClient {
			return newClient(t, &redis.Options{Addr: s.addr(), MaxRetries: 9, ContextTimeoutEnabled: true, PoolSize: 1})
		}},
		{"cluster", func(t *testing.T, s *fakeServer) redis.UniversalClient { return newCluster(t, nil, s) }},
		{"wrapped", func(t *testing.T, s *fakeServer) redis.UniversalClient {
			return wrapper{newClient(t, &redis.Options{Addr: s.addr()})}
		}},
		{"wrapped cluster", func(t *testing.T, s *fakeServer) redis.UniversalClient {
			return wrapper{newCluster(t, nil, s)}
		}},
	}
	for _, client := range clients {
		for _, c := range calls {
			t.Run(client.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				s := newFakeServer(t, loseReply)
				err := c.call(within(t, 5*time.Second), New(client.client(t, s)))
				if err == nil {
					t.Error("no error, although the reply was lost")
				}
				if backend.NotExecuted(err) {
					t.Errorf("%v says that nothing was executed", err)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, although it was not a time-out", err)
				}
				got := sent(s)
				if want := c.commands; c.name == "Batch" {
					// The connection is closed after the first command.
					want = 1
					if got != want {
						t.Errorf("%d commands read, want %d: the batch was sent again", got, want)
					}
				} else if got != want {
					t.Errorf("%d commands sent, want %d", got, want)
				}
			})
		}
		t.Run(client.name+"/control", func(t *testing.T) {
			t.Parallel()
			s := newFakeServer(t, loseReply)
			client.client(t, s).Set(within(t, 5*time.Second), "key", "token", 0)
			if sent(s) < 2 {
				t.Error("the driver does not resend its own commands, so the other tests prove nothing")
			}
		})
	}
}

// wrapper is a client of a type that the package does not know.
type wrapper struct{ redis.UniversalClient }

func TestDeadline(t *testing.T) {
	const deadline = 100 * time.Millisecond
	const slack = time.Second // shorter than any of the driver's time-outs here

	muteCommands := func(args []string) string {
		switch args[0] {
		case "set", "eval", "evalsha", "ping":
			return ignore
		}
		return ""
	}
	settings := []struct {
		name string
		set  func(*redis.Options)
	}{
		{"default", func(*redis.Options) {}},
		{"no time-outs", func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -1 }},
		{"no deadlines", func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -2, -2 }},
		{"no deadlines, respects contexts", func(o *redis.Options) {
			o.ReadTimeout, o.WriteTimeout, o.ContextTimeoutEnabled = -2, -2, true
		}},
		{"patient", func(o *redis.Options) {
			o.MaxRetries, o.MinRetryBackoff, o.PoolTimeout = 9, time.Minute, time.Minute
		}},
	}
	phases := []struct {
		name        string
		handler     func([]string) string
		deaf        bool
		set         func(*redis.Options)
		prepare     func(t *testing.T, c *redis.Client)
		notExecuted bool
	}{
		{name: "set-up of the connection", deaf: true, notExecuted: true},
		{name: "password", handler: func(args []string) string {
			if args[0] == "auth" {
				return ignore
			}
			return ""
		}, set: func(o *redis.Options) { o.Password = "secret" }, notExecuted: true},
		{name: "TLS", deaf: true, set: func(o *redis.Options) {
			o.TLSConfig = &tls.Config{InsecureSkipVerify: true}
		}, notExecuted: true},
		{name: "dial", set: func(o *redis.Options) {
			o.Dialer = func(context.Context, string, string) (net.Conn, error) {
				<-t.Context().Done() // ignores everything else
				return nil, errors.New("too late")
			}
		}, notExecuted: true},
		{name: "reply", handler: muteCommands},
		{name: "exhausted pool", set: func(o *redis.Options) { o.PoolSize, o.MaxActiveConns = 1, 1 },
			prepare: func(t *testing.T, c *redis.Client) {
				conn := c.Conn()
				if err := conn.Echo(t.Context(), "mine").Err(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
			}, notExecuted: true},
	}
	for _, phase := range phases {
		for _, setting := range settings {
			t.Run(phase.name+"/"+setting.name, func(t *testing.T) {
				t.Parallel()
				s := newFakeServer(t, phase.handler)
				if phase.deaf {
					s.setDeaf()
				}
				o := &redis.Options{Addr: s.addr()}
				setting.set(o)
				if phase.set != nil {
					phase.set(o)
				}
				client := newClient(t, o)
				if phase.prepare != nil {
					phase.prepare(t, client)
				}
				n := New(client)
				var wg sync.WaitGroup
				for _, c := range calls {
					wg.Go(func() {
						start := time.Now()
						err := c.call(within(t, deadline), n)
						if err == nil && c.name == "Batch" && phase.prepare != nil {
							return // from v9.23 pipelines have connections of their own
						}
						if took := time.Since(start); took > deadline+slack {
							t.Errorf("%s returned after %v, deadline %v", c.name, took, deadline)
						}
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("%s: got %v, want an error that matches context.DeadlineExceeded", c.name, err)
						}
						if got := backend.NotExecuted(err); got != phase.notExecuted {
							t.Errorf("%s: NotExecuted(%v) = %v, want %v", c.name, err, got, phase.notExecuted)
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// Without a deadline, the client's own time-outs apply.
func TestNoDeadline(t *testing.T) {
	s := newFakeServer(t, func(args []string) string {
		if args[0] == "set" {
			return ignore
		}
		return ""
	})
	n := New(newClient(t, &redis.Options{Addr: s.addr(), ReadTimeout: 50 * time.Millisecond}))
	_, err := n.SetNX(context.Background(), "key", "token", time.Second)
	if !errors.Is(err, context.DeadlineExceeded) || backend.NotExecuted(err) {
		t.Errorf("got %v, want a time-out of unknown outcome", err)
	}
}

func TestPoolTimeout(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr(), PoolSize: 1, PoolTimeout: 20 * time.Millisecond})
	conn := client.Conn()
	defer conn.Close()
	if err := conn.Echo(t.Context(), "mine").Err(); err != nil {
		t.Fatal(err)
	}
	n := New(client)
	for _, c := range calls {
		err := c.call(within(t, 5*time.Second), n)
		if err == nil && c.name == "Batch" {
			continue // from v9.23 pipelines have connections of their own
		}
		if !errors.Is(err, redis.ErrPoolTimeout) || !backend.NotExecuted(err) {
			t.Errorf("%s: got %v, want a redis.ErrPoolTimeout that says that nothing was executed", c.name, err)
		}
	}
}

func TestEndedContext(t *testing.T) {
	s := newFakeServer(t, nil)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, client := range map[string]redis.UniversalClient{
		"client":  newClient(t, &redis.Options{Addr: s.addr()}),
		"cluster": newCluster(t, nil, s),
		"wrapper": wrapper{newClient(t, &redis.Options{Addr: s.addr()})},
	} {
		n := New(client)
		for _, c := range calls {
			if err := c.call(ended, n); !errors.Is(err, context.Canceled) || !errors.Is(err, backend.ErrNotExecuted) {
				t.Errorf("%s, %s: got %v, want context.Canceled and not executed", name, c.name, err)
			}
		}
		if err := n.Subscribe(ended, "channel", backend.Events{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, Subscribe: got %v, want context.Canceled", name, err)
		}
	}
	if got := s.accepted(); got != 0 {
		t.Errorf("%d connections opened, want none", got)
	}
}

// ping sends a PING to every master, with the clients of the node.
func ping(ctx context.Context, n *Node) error {
	masters, err := n.route.masters(ctx)
	for _, m := range masters {
		err = errors.Join(err, m.Ping(ctx).Err())
	}
	return err
}

// The node must not change the caller's client.
func TestClientUntouched(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newClient(t, &redis.Options{Addr: s.addr(), ReadTimeout: -2, MaxRetries: 5, Protocol: 2})
	before := *client.Options()
	n := New(client)
	if err := ping(within(t, 5*time.Second), n); err != nil {
		t.Fatal(err)
	}
	after := *client.Options()
	// Functions cannot be compared.
	before.Dialer, after.Dialer = nil, nil
	if !reflect.DeepEqual(before, after) {
		t.Errorf("options before %+v, after %+v", before, after)
	}
	if client.PoolStats().TotalConns != 1 {
		t.Errorf("the client's pool has %d connections, want the one that the node used", client.PoolStats().TotalConns)
	}
}

func TestHooks(t *testing.T) {
	s := newFakeServer(t, nil)
	for _, heeds := range []bool{false, true} {
		client := newClient(t, &redis.Options{Addr: s.addr(), ContextTimeoutEnabled: heeds})
		h := new(hook)
		client.AddHook(h)
		if err := ping(within(t, 5*time.Second), New(client)); err != nil {
			t.Fatal(err)
		}
		if h.dials == 0 {
			t.Errorf("ContextTimeoutEnabled %v: the dial hook did not run", heeds)
		}
		if got := h.commands > 0; got != heeds {
			t.Errorf("ContextTimeoutEnabled %v: %d commands seen; the package documentation says otherwise", heeds, h.commands)
		}
	}
}

type hook struct{ dials, commands int }

func (h *hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		h.dials++
		return next(ctx, network, addr)
	}
}

func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "ping" {
			h.commands++
		}
		return next(ctx, cmd)
	}
}

func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestReplies(t *testing.T) {
	const refused, notExecuted, unknown = "refused", "not executed", "unknown"
	tests := []struct {
		name, answer string
		want         string
	}{
		{"no permission", "-NOPERM this user has no permissions\r\n", refused},
		{"replica", "-READONLY You can't write against a read only replica.\r\n", notExecuted},
		{"not logged in", "-NOAUTH Authentication required.\r\n", refused},
		{"loading", "-LOADING Redis is loading the dataset in memory\r\n", notExecuted},
		{"another cluster node", "-MOVED 1 127.0.0.1:1\r\n", notExecuted},
		{"anything else", "-ERR strange\r\n", unknown},
		{"no memory, in a script of Redis 6", "-ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.  \r\n", notExecuted},
		{"no right, in a script of Redis 6", "-ERR Error running script (call to f_8f18fe90be97286fead79ae459e2f17b459c320d): @user_script:1: @user_script: 1: The user executing the script can't run this command or subcommand \r\n", refused},
		{"no right, in a script of Redis 7.0", "-ERR The user executing the script can't run this command or subcommand script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.\r\n", refused},
		{"no right, in a script of Redis 8", "-ERR ACL failure in script: User u has no permissions to run the 'get' command script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.\r\n", refused},
		{"replica, returned by a script of Redis 6", "-@user_script: 1: -READONLY You can't write against a read only replica.\r\n", notExecuted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newFakeServer(t, func(args []string) string {
				switch args[0] {
				case "set", "eval", "evalsha", "ping":
					return test.answer
				}
				return ""
			})
			n := New(newClient(t, &redis.Options{Addr: s.addr()}))
			for _, c := range calls {
				err := c.call(within(t, 5*time.Second), n)
				got := unknown
				if errors.Is(err, backend.ErrRefused) {
					got = refused
				} else if errors.Is(err, backend.ErrNotExecuted) {
					got = notExecuted
				}
				var reply redis.Error
				if got != test.want || !errors.As(err, &reply) {
					t.Errorf("%s: %v is %s, want %s and a redis.Error", c.name, err, got, test.want)
				}
			}
		})
	}
}

// If the server rejects a password, that must not look like a reply. This includes pipelines, in
// which the driver sets no error on the commands.
func TestWrongPassword(t *testing.T) {
	s := newFakeServer(t, func(args []string) string {
		if args[0] == "auth" {
			return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
		}
		return ""
	})
	n := New(newClient(t, &redis.Options{Addr: s.addr(), Username: "u", Password: "p"}))
	for _, c := range calls {
		err := c.call(within(t, 5*time.Second), n)
		if !errors.Is(err, backend.ErrRefused) || !backend.NotExecuted(err) {
			t.Errorf("%s: got %v, want a refusal", c.name, err)
		}
	}
	if got := sent(s); got != 0 {
		t.Errorf("%d commands sent without a login", got)
	}
}

func TestServerDown(t *testing.T) {
	s := newFakeServer(t, nil)
	s.listener.Close()
	n := New(newClient(t, &redis.Options{Addr: s.addr(), DialerRetries: 1}))
	for _, c := range calls {
		if err := c.call(within(t, 5*time.Second), n); err == nil || !backend.NotExecuted(err) {
			t.Errorf("%s: got %v, want an error that says that nothing was executed", c.name, err)
		}
	}
}

func TestUnexpectedReplies(t *testing.T) {
	s := newFakeServer(t, func(args []string) string {
		switch args[0] {
		case "set":
			return ":1\r\n"
		case "eval", "evalsha":
			return "$-1\r\n"
		}
		return ""
	})
	n := New(newClient(t, &redis.Options{Addr: s.addr()}))
	for _, c := range calls {
		if err := c.call(within(t, 5*time.Second), n); err == nil || backend.NotExecuted(err) {
			t.Errorf("%s: got %v, want an error of unknown outcome", c.name, err)
		}
	}
}

// A server that has forgotten a script gets its text.
func TestNoScript(t *testing.T) {
	s := newFakeServer(t, ones)
	n := New(newClient(t, &redis.Options{Addr: s.addr()}))
	ctx := within(t, 5*time.Second)
	for range 2 {
		if ok, err := n.EvalDelete(ctx, "k", "t"); !ok || err != nil {
			t.Errorf("EvalDelete: %v, %v", ok, err)
		}
	}
	before := len(s.received("eval"))
	s.setHandler(func(args []string) string {
		switch args[0] {
		case "evalsha":
			return "-NOSCRIPT No matching script. Please use EVAL.\r\n"
		case "set":
			return "$-1\r\n"
		}
		return ones(args)
	})
	if ok, err := n.EvalDelete(ctx, "k", "t"); !ok || err != nil {
		t.Errorf("EvalDelete, forgotten: %v, %v", ok, err)
	}
	if got, want := s.received("eval")[before:], []string{
		"evalsha " + lua.Delete.Hash() + " 1 k t",
		"eval " + lua.Delete.Source() + " 1 k t",
	}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	for i, r := range n.Batch(ctx, everyKind()) {
		if r.Err != nil || r.OK != (i == 1 || i == 2) {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	if got := len(s.received("set")); got != 1 {
		t.Errorf("SET sent %d times, want once", got)
	}
}

// Operations on one key run in their order, even if the server does not know a script. So a
// script that others follow must not depend on that.
func TestBatchOrder(t *testing.T) {
	s := newFakeServer(t, func(args []string) string {
		if strings.HasPrefix(args[0], "eval") {
			return ":1\r\n"
		}
		return ""
	})
	n := New(newClient(t, &redis.Options{Addr: s.addr()}))
	n.Batch(within(t, 5*time.Second), []backend.Op{
		{Kind: backend.OpEvalDelete, Key: "a", Token: "1"},
		{Kind: backend.OpEvalDelete, Key: "b", Token: "2"},
		{Kind: backend.OpSetNX, Key: "a", Token: "3", TTL: time.Second},
		{Kind: backend.OpEval, Script: lua.Inspect, Keys: []string{"c", "d"}},
		{Kind: backend.OpExtend, Key: "a", Token: "3", TTL: time.Second},
		{Kind: backend.OpEvalDelete, Key: "d", Token: "4"},
	})
	var got []string
	for _, c := range append(s.received("set"), s.received("eval")...) {
		c = strings.ReplaceAll(c, lua.Delete.Source(), "DELETE")
		c = strings.ReplaceAll(c, lua.Inspect.Source(), "INSPECT")
		c = strings.ReplaceAll(c, lua.Delete.Hash(), "delete")
		c = strings.ReplaceAll(c, lua.Extend.Hash(), "extend")
		got = append(got, c)
	}
	want := []string{
		"set a 3 nx px 1000",
		"eval DELETE 1 a 1",
		"evalsha delete 1 b 2",
		"eval INSPECT 2 c d",
		"evalsha extend 1 a 3 1000",
		"evalsha delete 1 d 4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent\n%q, want\n%q", got, want)
	}
}

func TestBatchOddities(t *testing.T) {
	s := newFakeServer(t, func(args []string) string {
		if args[0] == "set" && args[1] == "bad" {
			return "-ERR bad\r\n"
		}
		return ""
	})
	n := New(newClient(t, &redis.Options{Addr: s.addr()}))
	if got := n.Batch(within(t, 5*time.Second), nil); len(got) != 0 || s.accepted() != 0 {
		t.Errorf("an empty batch gave %v and opened %d connections", got, s.accepted())
	}
	got := n.Batch(within(t, 5*time.Second), []backend.Op{
		{Kind: backend.OpSetNX, Key: "a", Token: "t", TTL: time.Second},
		{Kind: 99},
		{Kind: backend.OpSetNX, Key: "bad", Token: "t", TTL: time.Second},
		{Kind: backend.OpSetNX, Key: "b", Token: "t", TTL: time.Second},
	})
	if !got[0].OK || got[0].Err != nil || !got[3].OK || got[3].Err != nil {
		t.Errorf("good operations gave %+v and %+v", got[0], got[3])
	}
	if !backend.NotExecuted(got[1].Err) {
		t.Errorf("an op that is no operation gave %+v, want an error that says that nothing was executed", got[1])
	}
	if got[2].OK || got[2].Err == nil {
		t.Errorf("the bad operation gave %+v", got[2])
	}
}

func TestRing(t *testing.T) {
	s := newFakeServer(t, nil)
	r := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": s.addr()}})
	defer r.Close()
	type embedded struct{ *redis.Ring }
	for _, client := range []redis.UniversalClient{r, embedded{r}} {
		n := New(client)
		for _, c := range calls {
			if err := c.call(within(t, 5*time.Second), n); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%T, %s: got %v, want errors.ErrUnsupported", client, c.name, err)
			}
		}
		err := n.Subscribe(within(t, 5*time.Second), "c", backend.Events{})
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%T, Subscribe: got %v, want errors.ErrUnsupported", client, err)
		}
	}
	if got := sent(s); got != 0 {
		t.Errorf("%d commands sent", got)
	}
}

func TestWrapped(t *testing.T) {
	s := newFakeServer(t, ones)
	n := New(wrapper{newClient(t, &redis.Options{Addr: s.addr(), ReadTimeout: time.Second})})
	ctx := within(t, 5*time.Second)
	if ok, err := n.SetNX(ctx, "k", "t", time.Second); !ok || err != nil {
		t.Errorf("SetNX: %v, %v", ok, err)
	}
	if ok, err := n.EvalDelete(context.Background(), "k", "t"); !ok || err != nil {
		t.Errorf("EvalDelete: %v, %v", ok, err)
	}
	if err := n.Subscribe(ctx, "c", backend.Events{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Subscribe: got %v, want errors.ErrUnsupported", err)
	}

	// If a server hangs, the calls return in time, few of them are left behind, and the node
	// works again when those end.
	s.setHandler(func(args []string) string {
		if args[0] == "set" {
			return ignore
		}
		return ""
	})
	for i := range 10 {
		start := time.Now()
		_, err := n.SetNX(within(t, 20*time.Millisecond), "k", "t", time.Second)
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("call %d took %v", i, took)
		}
		if i < maxStrays && (!errors.Is(err, context.DeadlineExceeded) || backend.NotExecuted(err)) {
			t.Errorf("call %d: got %v, want a time-out of unknown outcome", i, err)
		}
		if i >= maxStrays && (!errors.Is(err, errStrays) || !backend.NotExecuted(err)) {
			t.Errorf("call %d: got %v, want an error without a call", i, err)
		}
	}
	if got := len(s.received("set")); got != 1+maxStrays {
		t.Errorf("%d commands sent, want %d", got, 1+maxStrays)
	}
	s.setHandler(nil)
	eventually(t, "the strays come back", func() bool { return n.route.(*wrapped).guard.strays.Load() == 0 })
	if ok, err := n.SetNX(ctx, "k", "t", time.Second); !ok || err != nil {
		t.Errorf("SetNX afterwards: %v, %v", ok, err)
	}
}

func TestNew(t *testing.T) {
	for _, client := range []redis.UniversalClient{nil, (*redis.Client)(nil), (*redis.ClusterClient)(nil), (*redis.Ring)(nil)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%T) does not panic", client)
				}
			}()
			New(client)
		}()
	}
}

func TestName(t *testing.T) {
	single := newClient(t, &redis.Options{Addr: "10.0.0.1:6379", Password: "secret", Username: "secret"})
	socket := newClient(t, &redis.Options{Network: "unix", Addr: "/run/redis.sock"})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"b:1", "a:1"}, Password: "secret"})
	defer cluster.Close()
	sentinel := func() *redis.Client {
		c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}})
		t.Cleanup(func() { c.Close() })
		return c
	}
	one, other := sentinel(), sentinel()
	type embedded struct{ *redis.Client }
	for _, test := range []struct {
		node *Node
		want string
	}{
		{New(single), "10.0.0.1:6379"},
		{New(socket), "/run/redis.sock"},
		{New(cluster), "a:1,b:1"},
		{New(embedded{single}), "10.0.0.1:6379"},
		{New(single, WithName("first")), "first"},
		{New(single, WithName("")), "10.0.0.1:6379"},
	} {
		if got := test.node.Name(); got != test.want {
			t.Errorf("Name() = %q, want %q", got, test.want)
		}
		if _, instead := test.node.Address(); instead {
			t.Errorf("%q: the error shows the position instead", test.want)
		}
	}
	if a, b := New(one).Name(), New(other).Name(); a == b || a == "" {
		t.Errorf("two Sentinel clients are named %q and %q", a, b)
	}
	if _, instead := New(one).Address(); !instead {
		t.Error("a Sentinel client is named by its address in memory")
	}
	if a, b := New(one).Name(), New(one).Name(); a != b {
		t.Errorf("one Sentinel client is named %q and %q", a, b)
	}
	w := wrapper{single}
	if a, b := New(w).Name(), New(w).Name(); a == "" || strings.Contains(a, "secret") || a == b {
		t.Errorf("a wrapper is named %q, then %q", a, b)
	}
}

// The caller can reach an error of a dial hook.
func TestDriverErrorInChain(t *testing.T) {
	mine := errors.New("mine")
	client := newClient(t, &redis.Options{DialerRetries: 1, Dialer: func(context.Context, string, string) (net.Conn, error) {
		return nil, mine
	}})
	_, err := New(client).SetNX(within(t, 5*time.Second), "k", "t", time.Second)
	if !errors.Is(err, mine) || !backend.NotExecuted(err) {
		t.Errorf("got %v, want the dialer's error, not executed", err)
	}
	s := newFakeServer(t, func(args []string) string {
		if args[0] == "set" {
			return drop
		}
		return ""
	})
	_, err = New(newClient(t, &redis.Options{Addr: s.addr()})).SetNX(within(t, 5*time.Second), "k", "t", time.Second)
	if !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want io.EOF", err)
	}
}

// A server without EVALSHA gets the text of every script.
func TestWithoutEvalsha(t *testing.T) {
	for _, reply := range []string{
		"-ERR unknown command 'evalsha', with args beginning with: 'x' \r\n",
		"-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
	} {
		for _, call := range calls {
			s := newFakeServer(t, onLocks(func(args []string) string {
				if args[0] == "evalsha" {
					return reply
				}
				return well(args)
			}))
			n := New(newClient(t, &redis.Options{Addr: s.addr()}))
			for range 3 {
				if err := call.call(within(t, 5*time.Second), n); err != nil && isReply(err) {
					t.Errorf("%q: %s: %v", reply, call.name, err)
				}
			}
			if got := len(s.received("evalsha")); got > 3 { // as many as one batch has
				t.Errorf("%q: %s: EVALSHA was sent %d times", reply, call.name, got)
			}
		}
	}
}
