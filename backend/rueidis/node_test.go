package rueidis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// options are settings of a caller's client that change how it sends commands.
var options = map[string]rueidis.ClientOption{
	"defaults":           {},
	"always pipelining":  {AlwaysPipelining: true},
	"no pipelining":      {DisableAutoPipelining: true},
	"RESP2":              {AlwaysRESP2: true, DisableCache: true},
	"retry without wait": {RetryDelay: func(int, rueidis.Completed, error) time.Duration { return 0 }},
}

// newNode returns a Node over a client of f.
func newNode(t *testing.T, f *fake, option rueidis.ClientOption) *Node {
	t.Helper()
	option.InitAddress = []string{f.address}
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return known(New(client))
}

// known makes n treat every script as known to the server, as after the first use.
func known(n *Node) *Node {
	for _, s := range lua.All {
		n.loaded.Add(s)
	}
	return n
}

// soon returns a ctx whose end the test does not expect.
func soon(t *testing.T) context.Context {
	t.Helper()
	return within(t, 10*time.Second)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// calls are the operations of a Node, each with the command that it sends.
var calls = []struct {
	name, command string
	call          func(context.Context, *Node) error
}{
	{"SetNX", "SET", func(ctx context.Context, n *Node) error {
		_, err := n.SetNX(ctx, "key", "token", time.Second)
		return err
	}},
	{"EvalDelete", "EVALSHA", func(ctx context.Context, n *Node) error {
		_, err := n.EvalDelete(ctx, "key", "token")
		return err
	}},
	{"Extend", "EVALSHA", func(ctx context.Context, n *Node) error {
		_, err := n.Extend(ctx, "key", "token", time.Second)
		return err
	}},
	{"Eval", "EVALSHA", func(ctx context.Context, n *Node) error {
		_, err := n.Eval(ctx, lua.Acquire, []string{"key"}, []string{"token", "1000"})
		return err
	}},
	{"Batch of sets", "SET", func(ctx context.Context, n *Node) error {
		return n.Batch(ctx, []backend.Op{
			{Kind: backend.OpSetNX, Key: "a", Token: "token", TTL: time.Second},
			{Kind: backend.OpSetNX, Key: "b", Token: "token", TTL: time.Second},
		})[0].Err
	}},
	{"Batch of scripts", "EVALSHA", func(ctx context.Context, n *Node) error {
		return n.Batch(ctx, []backend.Op{
			{Kind: backend.OpEvalDelete, Key: "a", Token: "token"},
			{Kind: backend.OpExtend, Key: "b", Token: "token", TTL: time.Second},
		})[0].Err
	}},
}

// ping sends a PING to the server, as a node does.
func ping(ctx context.Context, n *Node) error {
	_, err := n.do(ctx, "", n.ping(""))
	return err
}

func TestWriteIsSentOnce(t *testing.T) {
	for name, option := range options {
		for _, c := range calls {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				f := newFake(t, func(args []string) string {
					if args[0] == c.command {
						return drop
					}
					return ""
				})
				n := newNode(t, f, option)
				err := c.call(soon(t), n)
				if err == nil {
					t.Fatal("a lost reply counted as an answer")
				}
				if backend.NotExecuted(err) {
					t.Errorf("%v: marked as not executed, but the server may have executed it", err)
				}
				// If the driver sent a command again, it would do so before this.
				if err := ping(soon(t), n); err != nil {
					t.Fatal(err)
				}
				want := 1 // the fake stops reading on a connection that it drops
				if got := f.count(c.command); got != want {
					t.Errorf("%s was sent %d times, want %d: %q", c.command, got, want, f.commands(c.command))
				}
			})
		}
	}
}

// The same holds if many calls share a broken connection.
func TestWriteIsSentOnceConcurrently(t *testing.T) {
	for name, option := range options {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, nil)
			n := newNode(t, f, option)
			if err := ping(soon(t), n); err != nil {
				t.Fatal(err)
			}
			f.setAnswer(func(args []string) string {
				if args[0] == "SET" {
					return drop
				}
				return ""
			})
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					if _, err := n.SetNX(soon(t), string(rune('a'+i)), "token", time.Second); err == nil {
						t.Error("a lost reply counted as an answer")
					}
				})
			}
			wg.Wait()
			seen := make(map[string]int)
			for _, args := range f.commands("SET") {
				seen[args[1]]++
			}
			for key, times := range seen {
				if times != 1 {
					t.Errorf("SET %q was sent %d times", key, times)
				}
			}
		})
	}
}

func TestCommands(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{})
	odd := "a\x00\r\n{ü"
	if ok, err := n.SetNX(soon(t), odd, odd, 1500*time.Microsecond); !ok || err != nil {
		t.Errorf("SetNX: %v, %v", ok, err)
	}
	got := strings.Join(f.await(t, "SET"), " ")
	if want := "SET " + odd + " " + odd + " NX PX 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if ok, err := n.Extend(soon(t), odd, odd, time.Second); !ok || err != nil {
		t.Errorf("Extend: %v, %v", ok, err)
	}
	got = strings.Join(f.await(t, "EVALSHA"), " ")
	if want := "EVALSHA " + lua.Extend.Hash() + " 1 " + odd + " " + odd + " 1000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	f.setAnswer(func([]string) string { return "_\r\n" })
	if ok, err := n.SetNX(soon(t), "key", "token", time.Second); ok || err != nil {
		t.Errorf("SetNX of a key that is taken: %v, %v", ok, err)
	}
}

// On the same connection, a later command does not arrive earlier.
// A reply that no operation has, such as that of a transaction which somebody else began on the
// connection, is no grant and no refusal. Whether the operation runs is unknown.
func TestUnknownReplies(t *testing.T) {
	for _, reply := range []string{"+QUEUED\r\n", bulk("value"), ":2\r\n", "*0\r\n"} {
		f := newFake(t, func(args []string) string {
			switch args[0] {
			case "SET", "EVAL", "EVALSHA":
				return reply
			}
			return ""
		})
		n := newNode(t, f, rueidis.ClientOption{})
		check := func(what string, ok bool, err error) {
			t.Helper()
			if ok || err == nil || backend.NotExecuted(err) {
				t.Errorf("%q to %s: %v, %v, want an error that is not marked as not executed", reply, what, ok, err)
			}
		}
		ok, err := n.SetNX(soon(t), "key", "token", time.Second)
		check("SetNX", ok, err)
		ok, err = n.EvalDelete(soon(t), "key", "token")
		check("EvalDelete", ok, err)
		ok, err = n.Extend(soon(t), "key", "token", time.Second)
		check("Extend", ok, err)
		for i, r := range n.Batch(soon(t), []backend.Op{
			{Kind: backend.OpSetNX, Key: "key", Token: "token", TTL: time.Second},
			{Kind: backend.OpEvalDelete, Key: "key", Token: "token"},
			{Kind: backend.OpExtend, Key: "key", Token: "token", TTL: time.Second},
		}) {
			check(fmt.Sprint("operation ", i, " of a batch"), r.OK, r.Err)
		}
	}
}

func TestOneConnection(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{PipelineMultiplex: 3})
	for range 20 {
		for _, c := range calls {
			c.call(soon(t), n)
		}
	}
	if got := f.connectionsOf("SET", "EVALSHA", "EVAL"); got != 1 {
		t.Errorf("commands came on %d connections", got)
	}
}

func TestTextAfterNoScript(t *testing.T) {
	f := newFake(t, func(args []string) string {
		switch args[0] {
		case "EVALSHA":
			return "-NOSCRIPT No matching script.\r\n"
		case "EVAL":
			if args[1] == lua.Inspect.Source() {
				return "*3\r\n:1\r\n" + bulk("v\x00") + ":-1\r\n"
			}
		}
		return ""
	})
	n := newNode(t, f, rueidis.ClientOption{})
	if ok, err := n.EvalDelete(soon(t), "key", "token"); !ok || err != nil {
		t.Errorf("EvalDelete: %v, %v", ok, err)
	}
	got := strings.Join(f.await(t, "EVAL"), " ")
	if want := "EVAL " + lua.Delete.Source() + " 1 key token"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r, err := n.Eval(soon(t), lua.Inspect, []string{"key"}, nil)
	if want := (backend.Reply{int64(1), "v\x00", int64(-1)}); !slices.Equal(r, want) || err != nil {
		t.Errorf("Eval: got %v, %v, want %v", r, err, want)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	for name, option := range options {
		for _, c := range calls {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				f := newFake(t, nil)
				n := newNode(t, f, option)
				if err := ping(soon(t), n); err != nil {
					t.Fatal(err)
				}
				f.setAnswer(func([]string) string { return silence })

				for i := range 3 {
					const limit = 50 * time.Millisecond
					start := time.Now()
					err := c.call(within(t, limit), n)
					if took := time.Since(start); took > limit+500*time.Millisecond {
						t.Errorf("call %d returned after %v, with a deadline of %v", i, took, limit)
					}
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("call %d: %v is not DeadlineExceeded", i, err)
					}
					if sent := i == 0; backend.NotExecuted(err) == sent {
						t.Errorf("call %d: NotExecuted(%v) = %v", i, err, !sent)
					}
				}
				if got := f.count(c.command); got > 2 {
					t.Errorf("%d commands sent to a server that does not answer", got)
				}
				f.hangUp() // otherwise Close of the client waits for the server
			})
		}
	}
}

// The first use of a script takes one round trip, like any other use.
func TestTextFirst(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{})
	n.loaded = adapterkit.Loaded{}
	for range 3 {
		if _, err := n.EvalDelete(soon(t), "key", "token"); err != nil {
			t.Error(err)
		}
	}
	if text, hash := f.count("EVAL"), f.count("EVALSHA"); text != 1 || hash != 2 {
		t.Errorf("sent as text %d times and as hash %d times, want once and twice", text, hash)
	}
}

// A slow connection setup gets the time it needs, however short the deadlines of the callers are.
func TestSlowConnection(t *testing.T) {
	release := make(chan struct{})
	f := newFake(t, func(args []string) string {
		if args[0] == "HELLO" {
			<-release
		}
		return ""
	})
	client, err := NewClient("redis://" + f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	n := known(New(client))
	for range 3 {
		_, err := n.SetNX(within(t, 20*time.Millisecond), "key", "token", time.Second)
		if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
			t.Errorf("while the connection is set up: %v", err)
		}
	}
	close(release)
	if ok, err := n.SetNX(soon(t), "key", "token", time.Second); !ok || err != nil {
		t.Errorf("after it: %v, %v", ok, err)
	}
	if got := f.connections(); got != 1 {
		t.Errorf("%d connections, want the one", got)
	}
	if got := f.count("SET"); got != 1 {
		t.Errorf("%d SETs, want the last call's", got)
	}
}

func TestEndedContext(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range calls {
		err := c.call(ctx, n)
		if !errors.Is(err, context.Canceled) || !backend.NotExecuted(err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := ping(soon(t), n); err != nil {
		t.Fatal(err)
	}
	if sent := f.count("SET") + f.count("EVALSHA"); sent > 0 {
		t.Errorf("%d commands sent", sent)
	}
}

// Calls that share a connection have separate deadlines.
func TestSeparateDeadlines(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{PipelineMultiplex: -1})
	if err := ping(soon(t), n); err != nil {
		t.Fatal(err)
	}
	f.setAnswer(func([]string) string { return silence })

	var wg sync.WaitGroup
	wg.Go(func() {
		n.SetNX(within(t, 100*time.Millisecond), "impatient", "token", time.Second)
	})
	f.await(t, "SET")
	wg.Go(func() {
		_, err := n.SetNX(soon(t), "patient", "token", time.Second)
		if err == nil || errors.Is(err, context.DeadlineExceeded) || backend.NotExecuted(err) {
			t.Errorf("the patient call's error is %v", err)
		}
	})
	wg.Wait()
}

func TestErrorReplies(t *testing.T) {
	const refused, unexecuted, unknown = "refused", "not executed", "unknown"
	for _, test := range []struct{ reply, want string }{
		{"NOPERM this user has no permissions to run the 'set' command", refused},
		{"READONLY You can't write against a read only replica.", unexecuted},
		{"ERR unknown command 'EVALSHA', with args beginning with: ", refused},
		{"ERR max number of clients reached", unexecuted},
		{"LOADING Redis is loading the dataset in memory", unexecuted},
		{"OOM command not allowed when used memory > 'maxmemory'.", unexecuted},
		{"ERR something else", unknown},
		// Errors of a command inside a script: Redis 6, 7.0 and 8.
		{"ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.  ", unexecuted},
		{"ERR Error running script (call to f_8f18fe90be97286fead79ae459e2f17b459c320d): @user_script:1: @user_script: 1: The user executing the script can't run this command or subcommand ", refused},
		{"ERR The user executing the script can't run this command or subcommand script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.", refused},
		{"ERR ACL failure in script: User u has no permissions to run the 'get' command script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.", refused},
		{"@user_script: 1: -READONLY You can't write against a read only replica.", unexecuted},
	} {
		t.Run(test.reply, func(t *testing.T) {
			f := newFake(t, func(args []string) string {
				switch args[0] {
				case "SET", "EVAL", "EVALSHA":
					return "-" + test.reply + "\r\n"
				}
				return ""
			})
			n := newNode(t, f, rueidis.ClientOption{})
			for _, c := range calls {
				if c.command == "PING" {
					continue
				}
				err := c.call(soon(t), n)
				got := unknown
				if errors.Is(err, backend.ErrRefused) {
					got = refused
				} else if backend.NotExecuted(err) {
					got = unexecuted
				}
				if got != test.want {
					t.Errorf("%s: %v: %s, want %s", c.name, err, got, test.want)
				}
				var reply *rueidis.RedisError
				if !errors.As(err, &reply) {
					t.Errorf("%s: %v does not wrap the driver's error", c.name, err)
				}
			}
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	f := newFake(t, func(args []string) string {
		if args[0] == "HELLO" {
			return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
		}
		return ""
	})
	client, err := NewClient("redis://:wrong@" + f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = New(client).SetNX(soon(t), "key", "token", time.Second)
	if !errors.Is(err, backend.ErrRefused) || !errors.Is(err, backend.ErrNotExecuted) {
		t.Errorf("wrong password: %v", err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	client, err = NewClient("redis://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = New(client).SetNX(soon(t), "key", "token", time.Second)
	var op *net.OpError
	if !errors.As(err, &op) || !backend.NotExecuted(err) {
		t.Errorf("no server: %v", err)
	}
}

// A server that works again is used again, without help.
func TestRecovery(t *testing.T) {
	for name, option := range options {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, nil)
			n := newNode(t, f, option)
			for range 3 {
				if _, err := n.SetNX(soon(t), "key", "token", time.Second); err != nil {
					t.Fatal(err)
				}
				f.hangUp()
				// This call may or may not find the connection broken.
				n.SetNX(soon(t), "key", "token", time.Second)
			}
		})
	}
}

func TestNewPanicsOnNil(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(nil)
}

func TestName(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{})
	if n.Name() != f.address {
		t.Errorf("got %q, want the address %q", n.Name(), f.address)
	}
	if _, instead := n.Address(); instead {
		t.Error("the error shows the position instead")
	}
	if got := New(n.client, WithName("eins")).Name(); got != "eins" {
		t.Errorf("got %q, want %q", got, "eins")
	}
}

// A server without EVALSHA gets the text of every script.
func TestWithoutEvalsha(t *testing.T) {
	for _, reply := range []string{
		"-ERR unknown command 'EVALSHA', with args beginning with: 'x' \r\n",
		"-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
	} {
		for _, c := range calls {
			f := newFake(t, func(args []string) string {
				if args[0] == "EVALSHA" {
					return reply
				}
				return ""
			})
			n := newNode(t, f, rueidis.ClientOption{})
			for range 3 {
				if err := c.call(soon(t), n); err != nil {
					t.Errorf("%q: %s: %v", reply, c.name, err)
				}
			}
			if got := f.count("EVALSHA"); got > 2 { // as many as one batch has
				t.Errorf("%q: %s: EVALSHA was sent %d times", reply, c.name, got)
			}
		}
	}
}
