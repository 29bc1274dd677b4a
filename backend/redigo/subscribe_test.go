package redigo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func push(kind, channel, payload string) string {
	return "*3\r\n" + bulk(kind) + bulk(channel) + payload
}

// subscription runs Subscribe and reports its events.
type subscription struct {
	events chan string
	end    chan error
}

func subscribe(ctx context.Context, n *Node) subscription { return listenTo(ctx, n, "c") }

func listenTo(ctx context.Context, n *Node, channel string) subscription {
	s := subscription{events: make(chan string, 16), end: make(chan error, 1)}
	go func() {
		s.end <- n.Subscribe(ctx, channel, backend.Events{
			Ready:   func() { s.events <- "ready" },
			Message: func(payload string) { s.events <- payload },
		})
	}()
	return s
}

func (s subscription) want(t *testing.T, event string) {
	t.Helper()
	soon(t, "the next event", func() {
		if got := <-s.events; got != event {
			t.Errorf("got event %q, want %q", got, event)
		}
	})
}

func (s subscription) wait(t *testing.T) (err error) {
	t.Helper()
	soon(t, "Subscribe", func() { err = <-s.end })
	return err
}

func TestSubscribe(t *testing.T) {
	before := runtime.NumGoroutine()
	s := serve(t, func(_ int, args []string) string {
		if args[0] != "SUBSCRIBE" {
			return hangUp
		}
		return push("subscribe", args[1], ":1\r\n") + push("message", args[1], bulk("one\x00"))
	})
	p := s.pool(t)
	n := New(p)

	// The deadline is far away. It must not delay the cancellation.
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	sub := subscribe(ctx, n)
	sub.want(t, "ready")
	sub.want(t, "one\x00")
	s.send("*2\r\n" + bulk("pong") + bulk(""))
	s.send(push("message", "c", bulk("")))
	sub.want(t, "")
	cancel()
	if err := sub.wait(t); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	if p.ActiveCount() != 0 {
		t.Errorf("the pool still has %d connections", p.ActiveCount())
	}
	// The connection is closed with its last subscription. An UNSUBSCRIBE may still leave before.
	if got, want := strings.TrimSuffix(s.seen(), " UNSUBSCRIBE"), "SUBSCRIBE"; got != want {
		t.Errorf("the server received %q, want %q", got, want)
	}
	eventually(t, "no goroutine is left but the server's", func() bool { return runtime.NumGoroutine() <= before+1 })
}

func TestSubscriptionBreaks(t *testing.T) {
	for name, by := range map[string]string{
		"hang up":      "",
		"unsubscribed": push("unsubscribe", "c", ":0\r\n"),
		"no push":      "+OK\r\n",
		"error":        "-ERR no more\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ int, args []string) string { return push("subscribe", args[1], ":1\r\n") })
			p := s.pool(t)
			sub := subscribe(t.Context(), New(p))
			sub.want(t, "ready")
			if by == "" {
				s.mu.Lock()
				_ = s.conns[0].Close()
				s.mu.Unlock()
			} else {
				s.send(by)
			}
			err := sub.wait(t)
			if err == nil || errors.Is(err, errors.ErrUnsupported) || by == "" && !errors.Is(err, io.EOF) {
				t.Errorf("got %v, want an error with the reason", err)
			}
			if s.dialled() != 1 || p.ActiveCount() != 0 {
				t.Errorf("%d connections were opened and %d are left, want 1 and 0", s.dialled(), p.ActiveCount())
			}
		})
	}
}

func TestSubscribeUnsupported(t *testing.T) {
	for _, reply := range []string{
		"-NOPERM No permissions to access a channel\r\n",
		"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n",
		"-ERR unknown command 'SUBSCRIBE', with args beginning with: 'c' \r\n",
	} {
		s := serve(t, func(int, []string) string { return reply })
		if err := subscribe(t.Context(), New(s.pool(t))).wait(t); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%q: got %v, want unsupported", reply, err)
		}
	}

	s := serve(t, func(int, []string) string { return hangUp })
	p := s.pool(t)
	p.MaxActive = 1
	if err := subscribe(t.Context(), New(p)).wait(t); !errors.Is(err, errors.ErrUnsupported) || s.dialled() != 0 {
		t.Errorf("a pool of one connection: got %v, want unsupported", err)
	}
	p = s.pool(t)
	p.MaxActive = 2
	a, b := p.Get(), p.Get()
	defer a.Close()
	defer b.Close()
	if err := subscribe(t.Context(), New(p)).wait(t); !errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an exhausted pool: got %v, want %v", err, redis.ErrPoolExhausted)
	}
}

// radio replies like a server on a connection that subscribes.
func radio(_ int, args []string) string {
	switch args[0] {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		if args[1] == "forbidden" {
			return "-NOPERM No permissions to access a channel\r\n"
		}
		return push(strings.ToLower(args[0]), args[1], ":1\r\n")
	case "SET":
		return "+OK\r\n"
	}
	return hangUp
}

// The subscriptions of all Nodes on a pool share one connection. None gets another one's
// messages.
func TestSubscriptionsShareAConnection(t *testing.T) {
	before := runtime.NumGoroutine()
	s := serve(t, radio)
	p := s.pool(t)
	first, second := New(p), New(p)
	ctx, cancel := context.WithCancel(t.Context())
	a := listenTo(ctx, first, "a")
	a.want(t, "ready")
	b, b2 := listenTo(t.Context(), second, "b"), listenTo(t.Context(), second, "b")
	b.want(t, "ready")
	b2.want(t, "ready")
	if err := listenTo(t.Context(), first, "forbidden").wait(t); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a channel without rights: %v, want unsupported", err)
	}
	s.send(push("message", "a", bulk("1")) + push("message", "b", bulk("2")) + push("message", "a", bulk("3")))
	a.want(t, "1")
	a.want(t, "3")
	b.want(t, "2")
	b2.want(t, "2")

	cancel()
	if err := a.wait(t); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	eventually(t, "an UNSUBSCRIBE", func() bool { return strings.HasSuffix(s.seen(), "UNSUBSCRIBE") })
	s.send(push("message", "a", bulk("4")) + push("message", "b", bulk("5")))
	b.want(t, "5")
	a = listenTo(t.Context(), first, "a")
	a.want(t, "ready")
	s.send(push("message", "a", bulk("6")))
	a.want(t, "6")
	if n := s.dialled(); n != 1 {
		t.Errorf("%d connections for all subscriptions, want 1", n)
	}

	s.mu.Lock()
	_ = s.conns[0].Close()
	s.mu.Unlock()
	for _, sub := range []subscription{a, b, b2} {
		if err := sub.wait(t); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want the break", err)
		}
	}
	eventually(t, "all is given back", func() bool { return p.ActiveCount() == 0 && runtime.NumGoroutine() <= before+1 })
	if len(hubs.byKey) != 0 {
		t.Errorf("%d hubs are left", len(hubs.byKey))
	}
}

// A command that finds no connection gets that of the subscriptions. They then stay away for a
// while.
func TestCommandsGoBeforeSubscriptions(t *testing.T) {
	for _, wait := range []bool{true, false} {
		t.Run(fmt.Sprint("wait ", wait), func(t *testing.T) {
			s := serve(t, radio)
			p := s.pool(t)
			p.MaxActive, p.Wait = 2, wait
			other := p.Get() // like a worker in BLPOP
			defer other.Close()
			if err := other.Err(); err != nil {
				t.Fatal(err)
			}
			n := New(p)
			sub := listenTo(t.Context(), New(p), "a")
			sub.want(t, "ready")
			sub2 := listenTo(t.Context(), n, "b")
			sub2.want(t, "ready")
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			if ok, err := n.SetNX(ctx, "k", "t", time.Second); !ok || err != nil {
				t.Errorf("a command: %v, %v", ok, err)
			}
			for _, sub := range []subscription{sub, sub2} {
				if err := sub.wait(t); !errors.Is(err, errStarved) || errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("the subscription ended with %v, want errStarved", err)
				}
			}
			if err := listenTo(t.Context(), n, "b").wait(t); !errors.Is(err, errStarved) {
				t.Errorf("soon after that: %v, want errStarved", err)
			}
			time.Sleep(n.holdOff.left())
			sub2 = listenTo(t.Context(), n, "b")
			sub2.want(t, "ready")
			if n.holdOff.next != 2*firstHoldOff {
				t.Errorf("the next pause takes %v, want %v", n.holdOff.next, 2*firstHoldOff)
			}
		})
	}
}

// A command that finds no connection ends all subscriptions, which is one reason for a pause.
func TestOnePauseForAllSubscriptions(t *testing.T) {
	s := serve(t, radio)
	p := s.pool(t)
	p.MaxActive, p.Wait = 2, true
	other := p.Get()
	defer other.Close()
	n := New(p)
	var subs []subscription
	for _, channel := range []string{"a", "b", "c", "d", "e"} {
		sub := listenTo(t.Context(), n, channel)
		sub.want(t, "ready")
		subs = append(subs, sub)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if ok, err := n.SetNX(ctx, "k", "t", time.Second); !ok || err != nil {
		t.Errorf("a command: %v, %v", ok, err)
	}
	for _, sub := range subs {
		if err := sub.wait(t); !errors.Is(err, errStarved) {
			t.Errorf("a subscription ended with %v, want errStarved", err)
		}
	}
	if left := n.holdOff.left(); left > firstHoldOff {
		t.Errorf("no subscription for %v, want at most %v", left, firstHoldOff)
	}
}

// A pause is twice as long as the one before, unless that was long ago.
func TestPausesGetLongerAndShortAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h holdOff
		next := func(want time.Duration) {
			t.Helper()
			h.begin()
			if left := h.left(); left != want {
				t.Errorf("a pause of %v, want %v", left, want)
			}
		}
		for want := firstHoldOff; want < longestHoldOff; want *= 2 {
			next(want)
			time.Sleep(want)
		}
		next(longestHoldOff)
		time.Sleep(2 * longestHoldOff)
		next(longestHoldOff)
		time.Sleep(2*longestHoldOff + 1)
		next(firstHoldOff)
		next(firstHoldOff) // it is the same one
	})
}
