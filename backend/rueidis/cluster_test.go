package rueidis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// Several keys in the lower and the upper half of the slots.
var lower, upper = func() (lower, upper []string) {
	for i := range 50 {
		if key := fmt.Sprint("key", i); adapterkit.ClusterSlot(key) < 16384/2 {
			lower = append(lower, key)
		} else {
			upper = append(upper, key)
		}
	}
	return lower, upper
}()

// newCluster returns a Node on a cluster of two masters with half of the slots each, and a
// replica.
func newCluster(t *testing.T) (n *Node, low, high, replica *fake) {
	t.Helper()
	low, high, replica = newFake(t, nil), newFake(t, nil), newFake(t, nil)
	endpoint := func(f *fake) string {
		host, port, err := net.SplitHostPort(f.address)
		if err != nil {
			t.Fatal(err)
		}
		return "*2\r\n" + bulk(host) + ":" + port + "\r\n"
	}
	topology := "*2\r\n" +
		fmt.Sprintf("*3\r\n:0\r\n:%d\r\n", 16384/2-1) + endpoint(low) +
		fmt.Sprintf("*4\r\n:%d\r\n:%d\r\n", 16384/2, 16384-1) + endpoint(high) + endpoint(replica)
	for _, f := range []*fake{low, high, replica} {
		role := "master"
		if f == replica {
			role = "slave"
		}
		f.setUsual(func(args []string) string {
			switch args[0] {
			case "CLUSTER":
				return topology
			case "ROLE":
				return "*1\r\n" + bulk(role)
			}
			return usual(args)
		})
	}
	return newNode(t, low, rueidis.ClientOption{}), low, high, replica
}

func TestClusterSendsOnce(t *testing.T) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			n, low, high, replica := newCluster(t)
			for _, f := range []*fake{low, high, replica} {
				f.setAnswer(func(args []string) string {
					if args[0] == c.command {
						return drop
					}
					return ""
				})
			}
			if err := c.call(soon(t), n); err == nil || backend.NotExecuted(err) {
				t.Errorf("a lost reply gives %v", err)
			}
			for name, f := range map[string]*fake{"lower": low, "upper": high} {
				if got := f.count(c.command); got > 1 {
					t.Errorf("the %s master got it %d times", name, got)
				}
			}
			if got := replica.count(c.command); got > 0 {
				t.Error("the replica got it")
			}
		})
	}
}

func TestClusterFollowsRedirection(t *testing.T) {
	n, low, high, _ := newCluster(t)
	key := lower[0]
	low.setAnswer(func(args []string) string {
		if args[0] == "SET" {
			return fmt.Sprintf("-MOVED %d %s\r\n", adapterkit.ClusterSlot(key), high.address)
		}
		return ""
	})
	if ok, err := n.SetNX(soon(t), key, "token", time.Second); !ok || err != nil {
		t.Errorf("SetNX: %v, %v", ok, err)
	}
	if a, b := low.count("SET"), high.count("SET"); a != 1 || b != 1 {
		t.Errorf("SET sent %d and %d times", a, b)
	}
}

// A master that does not answer does not affect the other one.
func TestClusterWithOneMasterHung(t *testing.T) {
	n, _, high, _ := newCluster(t)
	if ok, err := n.SetNX(soon(t), upper[0], "token", time.Second); !ok || err != nil {
		t.Fatal(ok, err)
	}
	high.setAnswer(func([]string) string { return silence })
	_, err := n.SetNX(within(t, 30*time.Millisecond), upper[0], "token", time.Second)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	start := time.Now()
	results := n.Batch(within(t, 100*time.Millisecond), []backend.Op{
		{Kind: backend.OpSetNX, Key: lower[0], Token: "token", TTL: time.Second},
		{Kind: backend.OpSetNX, Key: upper[0], Token: "token", TTL: time.Second},
		{Kind: backend.OpEvalDelete, Key: lower[1], Token: "token"},
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("returned after %v", took)
	}
	for i, r := range results {
		if i == 1 {
			if !errors.Is(r.Err, context.DeadlineExceeded) || !backend.NotExecuted(r.Err) {
				t.Errorf("on the hung master: %v", r.Err)
			}
		} else if r.Err != nil || !r.OK {
			t.Errorf("operation %d, on the other: %+v", i, r)
		}
	}
	high.hangUp()
	high.setAnswer(nil)
}

// The driver panics with keys of several slots, or with a command without keys next to others.
func TestClusterScripts(t *testing.T) {
	n, low, high, replica := newCluster(t)
	crossed := []string{lower[0], upper[0]}
	answer := func(args []string) string {
		if len(args) > 2 && args[2] == "2" {
			return "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
		}
		return ""
	}
	low.setAnswer(answer)
	high.setAnswer(answer)
	if _, err := n.Eval(soon(t), lua.Acquire, crossed, nil); !errors.Is(err, backend.ErrRefused) {
		t.Errorf("keys of two slots: %v", err)
	}
	results := n.Batch(soon(t), []backend.Op{
		{Kind: backend.OpEval, Script: lua.Acquire, Keys: crossed},
		{Kind: backend.OpEval, Script: lua.Acquire},
		{Kind: backend.OpSetNX, Key: lower[0], Token: "token", TTL: time.Second},
		{Kind: backend.OpSetNX, Key: upper[0], Token: "token", TTL: time.Second},
	})
	if err := results[0].Err; !errors.Is(err, backend.ErrRefused) {
		t.Errorf("keys of two slots, in a batch: %v", err)
	}
	for i, r := range results[1:] {
		if r.Err != nil {
			t.Errorf("operation %d: %v", i+1, r.Err)
		}
	}
	if replica.count("EVALSHA")+replica.count("EVAL") > 0 {
		t.Error("the replica got a script")
	}
}

func TestClusterBatchKeepsOrder(t *testing.T) {
	n, low, high, _ := newCluster(t)
	for _, f := range []*fake{low, high} {
		answer, _ := forgetful()
		f.setAnswer(answer)
	}
	var ops []backend.Op
	for _, key := range append(lower[:5:5], upper[:5]...) {
		ops = append(ops,
			backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: "old"},
			backend.Op{Kind: backend.OpSetNX, Key: key, Token: "new", TTL: time.Second})
	}
	for i, r := range n.Batch(soon(t), ops) {
		if r.Err != nil {
			t.Errorf("operation %d: %v", i, r.Err)
		}
	}
	for _, f := range []*fake{low, high} {
		if got := f.count("EVALSHA"); got > 0 {
			t.Errorf("%d scripts sent by a hash that the server does not know", got)
		}
	}
}

func TestClusterSubscribe(t *testing.T) {
	n, low, high, replica := newCluster(t)
	acknowledge := make(chan struct{})
	high.setAnswer(func(args []string) string {
		if args[0] == "SUBSCRIBE" {
			<-acknowledge
		}
		return ""
	})
	ctx, cancel := context.WithCancel(soon(t))
	l := subscribe(ctx, n)
	low.await(t, "SUBSCRIBE")
	high.await(t, "SUBSCRIBE")
	select {
	case <-l.ready:
		t.Error("ready before every master has acknowledged")
	default:
	}
	close(acknowledge)
	<-l.ready
	low.push(message("low"))
	high.push(message("high"))
	if got := <-l.messages + " " + <-l.messages; got != "low high" && got != "high low" {
		t.Errorf("got %q", got)
	}
	if replica.count("SUBSCRIBE") > 0 {
		t.Error("subscribed at the replica")
	}
	cancel()
	<-l.ended

	l = subscribe(soon(t), n)
	<-l.ready
	high.hangUp()
	if err := <-l.ended; err == nil {
		t.Error("ended without an error")
	}
}

func TestClusterMastersAndName(t *testing.T) {
	n, low, high, replica := newCluster(t)
	if masters, err := n.masters(soon(t)); len(masters) != 2 || err != nil {
		t.Errorf("masters %v, %v", masters, err)
	}
	first := min(low.address, high.address, replica.address)
	if got, want := n.Name(), first+" and 2 more"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	high.setAnswer(func(args []string) string {
		if args[0] == "ROLE" {
			return drop
		}
		return ""
	})
	if _, err := n.masters(soon(t)); err == nil || !strings.Contains(err.Error(), high.address) {
		t.Errorf("with a master that does not answer: %v", err)
	}
}

// A subscription ends when another server reports that it is a master, whatever the known masters
// report. A server that does not answer has no effect by itself.
func TestClusterSubscribeFollowsRoles(t *testing.T) {
	t.Parallel()
	n, _, high, replica := newCluster(t)
	answer := func(role string) func(args []string) string {
		return func(args []string) string {
			if args[0] == "ROLE" {
				return role
			}
			return ""
		}
	}
	l := subscribe(soon(t), n)
	<-l.ready
	replica.setAnswer(answer("-LOADING not now\r\n"))
	select {
	case err := <-l.ended:
		t.Fatalf("ended with %v while the masters are the same", err)
	case <-time.After(mastersEvery + time.Second):
	}
	replica.setAnswer(answer("*1\r\n" + bulk("master")))
	start := time.Now()
	if err := <-l.ended; !errors.Is(err, errMoved) || time.Since(start) > mastersEvery+time.Second {
		t.Errorf("ended after %v with %v, want errMoved", time.Since(start), err)
	}
	high.setAnswer(answer("*1\r\n" + bulk("slave")))
	l = subscribe(soon(t), n)
	<-l.ready
	if replica.count("SUBSCRIBE") == 0 {
		t.Error("the next subscription is not on the new master")
	}
}
