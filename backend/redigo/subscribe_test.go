package redigo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func push(kind, channel, payload string) string {
	return "*3\r\n" + bulk(kind) + bulk(channel) + payload
}

// subscription runs Subscribe and tells what it calls.
type subscription struct {
	events chan string
	end    chan error
}

func subscribe(ctx context.Context, n *Node) subscription {
	s := subscription{events: make(chan string, 16), end: make(chan error, 1)}
	go func() {
		s.end <- n.Subscribe(ctx, "c", backend.Events{
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

	// The deadline is far away: it must not keep the cancellation from being
	// heard.
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
	if got, want := s.seen(), "SUBSCRIBE"; got != want {
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
				t.Errorf("got %v, want an error that says why", err)
			}
			if s.dialled() != 1 || p.ActiveCount() != 0 {
				t.Errorf("%d connections were made and %d are left, want 1 and 0", s.dialled(), p.ActiveCount())
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
