package goredis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// radio is a handler that acknowledges subscriptions and answers PING.
func radio(args []string) string {
	switch args[0] {
	case "subscribe":
		return list(bulk("subscribe"), bulk(args[1]), ":1\r\n")
	case "ping":
		return list(bulk("pong"), bulk(""))
	}
	return ""
}

func message(channel, payload string) string {
	return list(bulk("message"), bulk(channel), bulk(payload))
}

// A listener is a Subscribe that is under way.
type listener struct {
	ready    chan struct{}
	messages chan string
	result   chan error
	cancel   context.CancelFunc
}

func listen(t *testing.T, n *Node, channel string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{make(chan struct{}, 2), make(chan string, 100), make(chan error, 1), cancel}
	go func() {
		l.result <- n.Subscribe(ctx, channel, backend.Events{
			Ready:   func() { l.ready <- struct{}{} },
			Message: func(payload string) { l.messages <- payload },
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-l.result:
		case <-time.After(10 * time.Second):
			t.Error("Subscribe does not return when its context ends")
		}
	})
	return l
}

// receive returns the next value from c.
func receive[T any](t *testing.T, what string, c chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10 seconds: %s", what)
		panic("unreachable")
	}
}

// end ends the context, and returns the result of Subscribe.
func (l *listener) end(t *testing.T) error {
	t.Helper()
	err := receive(t, "Subscribe returns", l.result)
	l.result <- err // for the cleanup
	return err
}

func TestSubscribe(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("protocol %d", protocol), func(t *testing.T) {
			// A server that speaks RESP3 if the client requests it.
			var push atomic.Bool
			s := newFakeServer(t, func(args []string) string {
				if args[0] == "hello" {
					push.Store(args[1] == "3")
					return list(bulk("proto"), ":"+args[1]+"\r\n")
				}
				answer := radio(args)
				if push.Load() && args[0] == "subscribe" {
					answer = ">" + answer[1:]
				}
				return answer
			})
			n := New(newClient(t, &redis.Options{Addr: s.addr(), Protocol: protocol}))
			l := listen(t, n, "c")
			receive(t, "ready", l.ready)
			start := time.Now()
			for i := range 3 {
				text := message("c", fmt.Sprint(i))
				if push.Load() {
					text = ">" + text[1:]
				}
				s.push(text)
				if got := receive(t, "a message", l.messages); got != fmt.Sprint(i) {
					t.Errorf("got message %q, want %d", got, i)
				}
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("three messages took %v", took)
			}
			l.cancel()
			if err := l.end(t); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
			eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
			if got := s.accepted(); got != 1 {
				t.Errorf("%d connections, want 1", got)
			}
		})
	}
}

// A connection that breaks ends Subscribe. The driver must not open another one.
func TestSubscribeBreaks(t *testing.T) {
	for name, set := range map[string]func(*redis.Options){
		"plain": func(*redis.Options) {},
		"a dialer that ignores contexts": func(o *redis.Options) {
			o.Dialer = func(_ context.Context, network, addr string) (net.Conn, error) { return net.Dial(network, addr) }
		},
	} {
		for _, by := range []string{"hang up", "goodbye", "error", "unsubscribe", "garbage"} {
			t.Run(name+"/"+by, func(t *testing.T) {
				s := newFakeServer(t, radio)
				o := &redis.Options{Addr: s.addr()}
				set(o)
				l := listen(t, New(newClient(t, o)), "channel")
				receive(t, "ready", l.ready)
				s.push(message("channel", "last"))
				if got := receive(t, "the message before", l.messages); got != "last" {
					t.Errorf("got message %q", got)
				}
				switch by {
				case "hang up":
					s.hangUp()
				case "goodbye":
					s.push(message("channel", "really")) // is still delivered
					s.hangUp()
					if got := receive(t, "the last message", l.messages); got != "really" {
						t.Errorf("got message %q", got)
					}
				case "error":
					s.push("-NOPERM no more\r\n")
				case "unsubscribe":
					s.push(list(bulk("unsubscribe"), bulk("channel"), ":0\r\n"))
				case "garbage":
					s.push("garbage\r\n")
				}
				if err := l.end(t); err == nil || errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want an error that says why", err)
				}
				eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
				if got := s.accepted(); got != 1 {
					t.Errorf("%d connections, want 1: the driver reconnected", got)
				}
				if len(l.messages) > 0 {
					t.Errorf("unexpected message %q", <-l.messages)
				}
			})
		}
	}
}

// A message that the driver cannot read ends Subscribe with an error. The driver panics.
func TestSubscribeMalformed(t *testing.T) {
	for _, raw := range []string{"*0\r\n", list(bulk("pong")), list(bulk("message"), bulk("channel")), list(":1\r\n"), list(bulk("subscribe"), bulk("channel"), bulk("1"))} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%q first %v", raw, first), func(t *testing.T) {
				s := newFakeServer(t, func(args []string) string {
					if first && args[0] == "subscribe" {
						return raw
					}
					return radio(args)
				})
				l := listen(t, New(newClient(t, &redis.Options{Addr: s.addr()})), "channel")
				if !first {
					receive(t, "ready", l.ready)
					s.push(raw)
				}
				if err := l.end(t); err == nil || errors.Is(err, context.Canceled) || backend.NotExecuted(err) {
					t.Errorf("got %v, want an error that says why", err)
				}
				eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
			})
		}
	}
}

// Only a panic of the driver is an error. One of the caller's function stays a panic.
func TestSubscribePanics(t *testing.T) {
	s := newFakeServer(t, radio)
	sub, err := subscribe(t.Context(), newClient(t, &redis.Options{Addr: s.addr()}), "channel")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.close()
	s.push(message("channel", "one"))
	defer func() {
		if p := recover(); p != "the caller's" {
			t.Errorf("recovered %v", p)
		}
	}()
	err = sub.receive(time.Second, func(string) { panic("the caller's") })
	t.Errorf("receive returned %v", err)
}

// A server that has become silent is noticed. A server that answers PING is not given up.
func TestSubscribeSilence(t *testing.T) {
	t.Parallel()
	s := newFakeServer(t, radio)
	n := New(newClient(t, &redis.Options{Addr: s.addr()}))
	n.heartbeat, n.silence = 50*time.Millisecond, 400*time.Millisecond
	l := listen(t, n, "channel")
	receive(t, "ready", l.ready)
	eventually(t, "20 PINGs", func() bool { return len(s.received("ping")) >= 20 }) // within a second
	select {
	case err := <-l.result:
		t.Fatalf("Subscribe gave up a server that answers PING: %v", err)
	default:
	}
	s.setHandler(func([]string) string { return ignore })
	if err := l.end(t); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a break that does not match the caller's time-out", err)
	}
	eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
}

func TestSubscribeRefused(t *testing.T) {
	for _, test := range []struct {
		answer      string
		unsupported bool
	}{
		{"-NOPERM No permissions to access a channel\r\n", true},
		{"-ERR unknown command 'SUBSCRIBE'\r\n", true},
		{"-LOADING Redis is loading the dataset in memory\r\n", false},
		{drop, false},
		{"+OK\r\n", false},
	} {
		s := newFakeServer(t, func(args []string) string {
			if args[0] == "subscribe" {
				return test.answer
			}
			return ""
		})
		l := listen(t, New(newClient(t, &redis.Options{Addr: s.addr()})), "channel")
		if err := l.end(t); err == nil || errors.Is(err, errors.ErrUnsupported) != test.unsupported {
			t.Errorf("%q: got %v, want errors.ErrUnsupported: %v", test.answer, err, test.unsupported)
		}
		if len(l.ready) > 0 {
			t.Errorf("%q: ready", test.answer)
		}
		eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
		if got := s.accepted(); got != 1 {
			t.Errorf("%q: %d connections, want 1", test.answer, got)
		}
	}
}

// Wherever the setup hangs, Subscribe returns when its context ends, or when its own time limit
// is over.
func TestSubscribeHangs(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"accept", "hello", "subscribe"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := newFakeServer(t, func(args []string) string {
				if args[0] == at {
					return ignore
				}
				return radio(args)
			})
			if at == "accept" {
				s.setDeaf()
			}
			closed := func() bool {
				// Before v9.23, the driver leaves connections whose setup failed to the garbage
				// collector.
				runtime.GC()
				return s.open() == 0
			}
			n := New(newClient(t, &redis.Options{Addr: s.addr(), ReadTimeout: -1}))
			n.setup = 300 * time.Millisecond

			l := listen(t, n, "channel")
			eventually(t, "a connection", func() bool { return s.open() == 1 })
			l.cancel()
			if err := l.end(t); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: got %v", err)
			}
			eventually(t, "the connection is closed", closed)

			l = listen(t, n, "channel")
			if err := l.end(t); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("time limit: got %v, want an error that does not match the caller's time-out", err)
			}
			eventually(t, "the connection is closed", closed)

			if err := n.Subscribe(within(t, 50*time.Millisecond), "channel", backend.Events{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("deadline: got %v", err)
			}
			eventually(t, "the connection is closed", closed)
		})
	}
}

// Events come one at a time, and none comes after the return.
func TestSubscribeOneAtATime(t *testing.T) {
	a, b := newFakeServer(t, radio), newFakeServer(t, radio)
	n := New(newCluster(t, nil, a, b))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, entered, leave := make(chan struct{}), make(chan string, 10), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- n.Subscribe(ctx, "channel", backend.Events{
			Ready:   func() { close(ready) },
			Message: func(payload string) { entered <- payload; <-leave },
		})
	}()
	receive(t, "ready", ready)
	a.push(message("channel", "1"))
	receive(t, "the first message", entered)
	b.push(message("channel", "2"))
	cancel()
	select {
	case err := <-result:
		t.Fatalf("Subscribe returned during an event: %v", err)
	case m := <-entered:
		t.Fatalf("message %q during another", m)
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if err := receive(t, "the return", result); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// In a Cluster, the subscription is on each master. It is ready when all have it, and breaks when
// one breaks.
func TestSubscribeCluster(t *testing.T) {
	var servers []*fakeServer
	for range 3 {
		servers = append(servers, newFakeServer(t, radio))
	}
	n := New(newCluster(t, nil, servers...))
	last := servers[2]
	silent := last.handler
	last.setHandler(func(args []string) string {
		if args[0] == "subscribe" {
			return ignore
		}
		return silent(args)
	})
	l := listen(t, n, "channel")
	for _, s := range servers {
		eventually(t, "a SUBSCRIBE", func() bool { return len(s.received("subscribe")) == 1 })
	}
	servers[0].push(message("channel", "early")) // may be lost
	select {
	case <-l.ready:
		t.Fatal("ready, although one master has not answered")
	case <-l.messages:
		t.Fatal("a message before Ready")
	case <-time.After(50 * time.Millisecond):
	}
	last.setHandler(silent)
	last.push(list(bulk("subscribe"), bulk("channel"), ":1\r\n"))
	receive(t, "ready", l.ready)

	var got []string
	for i, s := range servers {
		s.push(message("channel", fmt.Sprint(i)))
		for m := "early"; m == "early"; {
			if m = receive(t, "a message", l.messages); m != "early" {
				got = append(got, m)
			}
		}
	}
	if want := []string{"0", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("got messages %q, want %q", got, want)
	}
	servers[1].hangUp()
	if err := l.end(t); err == nil || strings.Contains(err.Error(), "context") {
		t.Errorf("got %v, want the break", err)
	}
	for _, s := range servers {
		eventually(t, "no subscription left", func() bool { return len(s.received("subscribe")) == 1 && !s.subscribed() })
	}
}

// A subscription ends when the Cluster has other masters, even if its connections are still open.
func TestSubscribeClusterChanges(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what       string
		remap      time.Duration
		redirected bool
		within     time.Duration
	}{
		{"after reading the map", 80 * time.Millisecond, false, time.Second},
		{"after a redirected command", 4 * time.Second, true, 2 * time.Second},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			a, b, c := newFakeServer(t, radio), newFakeServer(t, radio), newFakeServer(t, radio)
			n := New(newCluster(t, nil, a, b))
			n.remap = tc.remap
			l := listen(t, n, "channel")
			receive(t, "ready", l.ready)
			select {
			case err := <-l.result:
				t.Fatalf("ended with %v while the masters are the same", err)
			case <-time.After(400 * time.Millisecond):
			}

			moved := fmt.Sprintf("-MOVED %d %s\r\n", adapterkit.ClusterSlot(high), c.addr())
			b.setHandler(func(args []string) string {
				if args[0] == "set" {
					return moved
				}
				return radio(args)
			})
			for _, s := range []*fakeServer{a, b, c} {
				s.member(t, a, c)
			}
			start := time.Now()
			if tc.redirected {
				if ok, err := n.SetNX(within(t, 5*time.Second), high, "t", time.Second); !ok || err != nil {
					t.Errorf("a redirected SetNX: %v, %v", ok, err)
				}
			}
			if err := l.end(t); !errors.Is(err, errMoved) || time.Since(start) > tc.within {
				t.Errorf("ended after %v with %v, want errMoved within %v", time.Since(start), err, tc.within)
			}
			for _, s := range []*fakeServer{a, b} {
				eventually(t, "no subscription left", func() bool { return !s.subscribed() })
			}
			receive(t, "ready on the masters that there are now", listen(t, n, "channel").ready)
			if !c.subscribed() || b.subscribed() {
				t.Error("the next subscription is not on the new masters")
			}
		})
	}
}
