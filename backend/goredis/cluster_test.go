package goredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

// newCluster returns a client for a cluster whose masters are servers, in the order of their
// slots. Each of them answers accordingly.
func newCluster(t *testing.T, set func(*redis.ClusterOptions), servers ...*fakeServer) *redis.ClusterClient {
	t.Helper()
	o := &redis.ClusterOptions{}
	for _, s := range servers {
		o.Addrs = append(o.Addrs, s.addr())
		s.member(t, servers...)
	}
	if set != nil {
		set(o)
	}
	c := redis.NewClusterClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// member makes s answer CLUSTER SLOTS. Other commands are answered as before.
func (s *fakeServer) member(t *testing.T, servers ...*fakeServer) {
	answer := slots(t, servers...)
	s.mu.Lock()
	rest := s.handler
	s.mu.Unlock()
	s.setHandler(func(args []string) string {
		if args[0] == "cluster" {
			return answer
		}
		if rest == nil {
			return ""
		}
		return rest(args)
	})
}

// Keys in the lower and the upper half of the slots.
const (
	low  = "bar" // slot 5061
	high = "foo" // slot 12182
)

func ones(args []string) string {
	if strings.HasPrefix(args[0], "eval") {
		return ":1\r\n"
	}
	return ""
}

func TestClusterRoutes(t *testing.T) {
	a, b := newFakeServer(t, ones), newFakeServer(t, ones)
	n := New(newCluster(t, nil, a, b))
	ctx := within(t, 5*time.Second)
	if ok, err := n.SetNX(ctx, low, "t", time.Second); !ok || err != nil {
		t.Errorf("SetNX: %v, %v", ok, err)
	}
	if ok, err := n.EvalDelete(ctx, high, "t"); !ok || err != nil {
		t.Errorf("EvalDelete: %v, %v", ok, err)
	}
	for i, r := range n.Batch(ctx, []backend.Op{
		{Kind: backend.OpSetNX, Key: low, Token: "u", TTL: time.Second},
		{Kind: backend.OpSetNX, Key: high, Token: "u", TTL: time.Second},
		{Kind: backend.OpExtend, Key: low, Token: "u", TTL: time.Second},
	}) {
		if !r.OK || r.Err != nil {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	for s, want := range map[*fakeServer]int{a: 3, b: 2} {
		if got := sent(s); got != want {
			t.Errorf("%s got %d commands, want %d: %q", s.addr(), got, want, s.received(""))
		}
		if got := s.received("command"); len(got) > 0 {
			t.Errorf("%s got COMMAND, which an ACL need not allow", s.addr())
		}
	}
}

// A redirection is followed once for each command, and the command is executed once.
func TestClusterRedirection(t *testing.T) {
	for _, kind := range []string{"MOVED", "ASK"} {
		t.Run(kind, func(t *testing.T) {
			var asked atomic.Bool
			target := newFakeServer(t, func(args []string) string {
				switch args[0] {
				case "asking":
					asked.Store(true)
				case "evalsha":
					return "-NOSCRIPT No matching script.\r\n"
				case "eval":
					return ":1\r\n"
				}
				return ""
			})
			source := newFakeServer(t, func(args []string) string {
				switch args[0] {
				case "set", "eval", "evalsha":
					return fmt.Sprintf("-%s 5061 %s\r\n", kind, target.addr())
				}
				return ""
			})
			n := New(newCluster(t, nil, source))
			ctx := within(t, 5*time.Second)
			if ok, err := n.SetNX(ctx, low, "t", time.Second); !ok || err != nil {
				t.Errorf("SetNX: %v, %v", ok, err)
			}
			if got := len(target.received("set")); got != 1 {
				t.Errorf("the target got %d commands, want 1", got)
			}
			if asked.Load() != (kind == "ASK") {
				t.Errorf("ASKING was sent: %v", asked.Load())
			}
			if ok, err := n.EvalDelete(ctx, low, "t"); !ok || err != nil {
				t.Errorf("EvalDelete: %v, %v", ok, err)
			}
			for i, r := range n.Batch(ctx, []backend.Op{
				{Kind: backend.OpSetNX, Key: low, Token: "u", TTL: time.Second},
				{Kind: backend.OpEvalDelete, Key: low, Token: "u"},
			}) {
				if !r.OK || r.Err != nil {
					t.Errorf("result %d is %+v", i, r)
				}
			}
			if got := len(target.received("set")); got != 2 {
				t.Errorf("the target got %d SETs in all, want 2", got)
			}
			if got := target.received("command"); len(got) > 0 {
				t.Error("the target got COMMAND, which an ACL need not allow")
			}
		})
	}
}

// The commands of a batch follow their redirections at the same time. Otherwise a batch would take
// a round trip for each of them.
func TestClusterBatchIsRedirectedAtOnce(t *testing.T) {
	var underWay atomic.Int32
	all := make(chan struct{})
	target := newFakeServer(t, func(args []string) string {
		if args[0] != "set" {
			return ""
		}
		if underWay.Add(1) == maxFollows {
			close(all)
		}
		<-all
		return ""
	})
	source := newFakeServer(t, func(args []string) string {
		if args[0] == "set" {
			return fmt.Sprintf("-ASK 5061 %s\r\n", target.addr())
		}
		return ""
	})
	t.Cleanup(func() {
		if underWay.Load() < maxFollows { // the test has failed
			close(all)
		}
	})
	n := New(newCluster(t, nil, source))
	var ops []backend.Op
	for i := range 3 * maxFollows {
		ops = append(ops, backend.Op{Kind: backend.OpSetNX, Key: low, Token: fmt.Sprint(i), TTL: time.Second})
	}
	for i, r := range n.Batch(within(t, 5*time.Second), ops) {
		if !r.OK || r.Err != nil {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	if got := len(target.received("set")); got != len(ops) {
		t.Errorf("the target got %d commands, want %d", got, len(ops))
	}
}

// After a redirection, too, a command with a lost reply is not sent again.
func TestClusterRedirectedOnce(t *testing.T) {
	target := newFakeServer(t, func(args []string) string {
		if args[0] == "set" {
			return drop
		}
		return ""
	})
	source := newFakeServer(t, func(args []string) string {
		if args[0] == "set" {
			return fmt.Sprintf("-MOVED 5061 %s\r\n", target.addr())
		}
		return ""
	})
	n := New(newCluster(t, nil, source))
	ctx := within(t, 5*time.Second)
	_, err := n.SetNX(ctx, low, "t", time.Second)
	if err == nil || backend.NotExecuted(err) {
		t.Errorf("SetNX: got %v, want an error of unknown outcome", err)
	}
	r := n.Batch(ctx, []backend.Op{{Kind: backend.OpSetNX, Key: low, Token: "t", TTL: time.Second}})
	if err := r[0].Err; err == nil || backend.NotExecuted(err) {
		t.Errorf("Batch: got %v, want an error of unknown outcome", err)
	}
	if got := len(target.received("set")); got != 2 {
		t.Errorf("%d commands sent for 2 operations", got)
	}
}

// If one master hangs, only the operations on it time out.
func TestClusterHungMaster(t *testing.T) {
	t.Parallel()
	a, b := newFakeServer(t, ones), newFakeServer(t, ones)
	client := newCluster(t, func(o *redis.ClusterOptions) { o.ReadTimeout = -1 }, a, b)
	n := New(client)
	if err := ping(within(t, 5*time.Second), n); err != nil {
		t.Fatal(err)
	}
	b.setHandler(func([]string) string { return ignore })

	const deadline = 150 * time.Millisecond
	start := time.Now()
	results := n.Batch(within(t, deadline), []backend.Op{
		{Kind: backend.OpSetNX, Key: low, Token: "t", TTL: time.Second},
		{Kind: backend.OpSetNX, Key: high, Token: "t", TTL: time.Second},
		{Kind: backend.OpEvalDelete, Key: low, Token: "t"},
	})
	if took := time.Since(start); took > deadline+time.Second {
		t.Errorf("the batch took %v, deadline %v", took, deadline)
	}
	if !results[0].OK || !results[2].OK {
		t.Errorf("on the healthy master: %+v, %+v", results[0], results[2])
	}
	if err := results[1].Err; !errors.Is(err, context.DeadlineExceeded) || backend.NotExecuted(err) {
		t.Errorf("on the hung master: %v, want a time-out of unknown outcome", err)
	}
	for range 8 {
		start := time.Now()
		_, err := n.SetNX(within(t, deadline), high, "t", time.Second)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > deadline+time.Second {
			t.Errorf("SetNX on the hung master: %v after %v", err, took)
		}
		if ok, err := n.SetNX(within(t, deadline), low, "t", time.Second); !ok || err != nil {
			t.Errorf("SetNX on the healthy master: %v, %v", ok, err)
		}
	}
}

// For the first call, the driver has to find the masters. It returns in time, too. Any number of
// such calls leaves only one goroutine behind.
func TestClusterWithoutMap(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newCluster(t, nil, s)
	s.setHandler(func([]string) string { return ignore })
	n := New(client)
	for _, c := range calls {
		const deadline = 50 * time.Millisecond
		start := time.Now()
		err := c.call(within(t, deadline), n)
		if took := time.Since(start); took > deadline+time.Second {
			t.Errorf("%s took %v, deadline %v", c.name, took, deadline)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
			t.Errorf("%s: got %v, want a time-out, nothing executed", c.name, err)
		}
	}
	if got := s.accepted(); got != 1 {
		t.Errorf("%d connections opened, want 1", got)
	}
}

func TestClusterDown(t *testing.T) {
	s := newFakeServer(t, nil)
	client := newCluster(t, func(o *redis.ClusterOptions) { o.DialerRetries = 1 }, s)
	s.listener.Close()
	n := New(client)
	for _, c := range calls {
		if err := c.call(within(t, 5*time.Second), n); err == nil || !backend.NotExecuted(err) {
			t.Errorf("%s: got %v, want an error that says that nothing was executed", c.name, err)
		}
	}
}
