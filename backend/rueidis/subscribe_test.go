package rueidis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// A listener is a Subscribe that is under way.
type listener struct {
	ready    chan struct{}
	messages chan string
	ended    chan error
}

func subscribe(ctx context.Context, n *Node) *listener {
	l := &listener{make(chan struct{}), make(chan string, 100), make(chan error, 1)}
	go func() {
		l.ended <- n.Subscribe(ctx, "channel", backend.Events{
			Ready:   func() { close(l.ready) },
			Message: func(payload string) { l.messages <- payload },
		})
	}()
	return l
}

func message(payload string) string {
	return ">3\r\n" + bulk("message") + bulk("channel") + bulk(payload)
}

func TestSubscribe(t *testing.T) {
	acknowledge := make(chan struct{})
	f := newFake(t, func(args []string) string {
		if args[0] == "SUBSCRIBE" {
			<-acknowledge
		}
		return ""
	})
	n := newNode(t, f, rueidis.ClientOption{})
	ctx, cancel := context.WithCancel(soon(t))
	l := subscribe(ctx, n)
	f.await(t, "SUBSCRIBE")
	select {
	case <-l.ready:
		t.Error("ready before the server has acknowledged")
	default:
	}
	close(acknowledge)
	<-l.ready
	for i := range 3 {
		f.push(message(fmt.Sprint(i, "\x00")))
	}
	for i := range 3 {
		if got, want := <-l.messages, fmt.Sprint(i, "\x00"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	cancel()
	if err := <-l.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// A broken connection is not repaired silently.
func TestSubscribeEndsWithTheConnection(t *testing.T) {
	for name, option := range options {
		if option.AlwaysRESP2 {
			continue // the fake publishes in RESP3
		}
		t.Run(name, func(t *testing.T) {
			f := newFake(t, nil)
			n := newNode(t, f, option)
			l := subscribe(soon(t), n)
			<-l.ready
			f.hangUp()
			if err := <-l.ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ended with %v", err)
			}
			if got := f.count("SUBSCRIBE"); got != 1 {
				t.Errorf("subscribed %d times", got)
			}
		})
	}
}

func TestSubscribeRefused(t *testing.T) {
	for _, test := range []struct {
		reply       string
		unsupported bool
	}{
		{"NOPERM No permissions to access a channel", true},
		{"ERR unknown command 'SUBSCRIBE'", true},
		{"ERR something else", false},
	} {
		f := newFake(t, func(args []string) string {
			if args[0] == "SUBSCRIBE" {
				return "-" + test.reply + "\r\n"
			}
			return ""
		})
		l := subscribe(soon(t), newNode(t, f, rueidis.ClientOption{}))
		if err := <-l.ended; err == nil || errors.Is(err, errors.ErrUnsupported) != test.unsupported {
			t.Errorf("%s: ended with %v", test.reply, err)
		}
	}
}

func TestSubscribeRespectsContext(t *testing.T) {
	t.Parallel()
	// Without a reply to the subscription, and without any connection.
	for _, hung := range []string{"SUBSCRIBE", "HELLO"} {
		t.Run(hung, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(args []string) string {
				if args[0] == hung {
					return silence
				}
				return ""
			})
			client, err := NewClient("redis://" + f.address)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithCancel(soon(t))
			l := subscribe(ctx, New(client))
			f.await(t, hung)
			start := time.Now()
			cancel()
			if err := <-l.ended; !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("ended after %v", took)
			}
			f.hangUp()
		})
	}
}

// If others have all connections of the pool for as long as they like, waiters that come and go
// leave one goroutine, and not one each.
func TestSubscribeWithFullPool(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{BlockingPoolSize: 1})
	held, _ := n.client.Dedicate() // like a worker in BLPOP
	if err := held.Do(soon(t), held.B().Ping().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.SetNX(soon(t), "key", "token", time.Second); err != nil { // opens the shared connection
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := n.Subscribe(ctx, "channel", backend.Events{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the first ended with %v", err)
	}
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := n.Subscribe(ctx, "channel", backend.Events{}); !backend.NotExecuted(err) || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the next ended with %v, want an error at once", err)
		}
	}
	if left := runtime.NumGoroutine() - before; left > 3 {
		t.Errorf("%d goroutines are left", left)
	}

	held.Close()
	for {
		l := subscribe(soon(t), n)
		select {
		case <-l.ready:
			return
		case err := <-l.ended:
			if !backend.NotExecuted(err) {
				t.Fatalf("with a free connection it ended with %v", err)
			}
		}
	}
}
