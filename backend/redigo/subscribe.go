package redigo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// pingEvery is how often a subscription asks the server for a sign of life.
	pingEvery = 3 * time.Second

	// silence is how long a subscription waits for anything to come, its
	// connection included, before it takes the connection for dead.
	silence = 9 * time.Second
)

// Subscribe listens on channel; see [backend.Subscriber]. It holds one of the
// pool's connections all that time, and closes it in the end. A pool with room
// for one only (MaxActive is 1) has none to spare: [errors.ErrUnsupported], as
// where the server knows no SUBSCRIBE or does not let this user listen on
// channel. In a pool that is exhausted for now it fails, or waits for some
// seconds if the pool does.
func (n *Node) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if err := ended(ctx); err != nil {
		return backend.MarkNotExecuted(err)
	}
	if p := n.conns.own; p != nil && p.MaxActive == 1 {
		return backend.MarkNotExecuted(fmt.Errorf("%w: the pool's only connection cannot be given to a subscription", errors.ErrUnsupported))
	}
	within, cancel := context.WithTimeout(ctx, silence)
	c, err := n.conns.take(within)
	cancel()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return backend.MarkNotExecuted(ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		// Ours, and not to be taken for the caller's.
		return backend.MarkNotExecuted(fmt.Errorf("no connection for a subscription within %v: %v", silence, hideURL(err)))
	default:
		return backend.MarkNotExecuted(fmt.Errorf("no connection for a subscription: %w", failure(ctx, err)))
	}

	defer n.conns.back(c) // a panic of the caller's events may pass through
	w := watchEnd(ctx, c)
	defer n.conns.over(w)
	err = listen(c, channel, events)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// listen subscribes c to channel and receives until something fails. It leaves
// c broken, or the pool would wait for the server to take it out of the
// channel, and in use by nobody.
func listen(c redis.Conn, channel string, events backend.Events) error {
	if err := c.Send("SUBSCRIBE", channel); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}

	// Receiving and sending may go on at the same time. A receive that times
	// out breaks the connection, so one goroutine cannot do both.
	over := make(chan struct{})
	pinging := make(chan struct{})
	go func() {
		defer close(pinging)
		ping(c, over)
	}()
	defer func() {
		close(over)
		breakConn(c) // it may be writing
		<-pinging
	}()

	ready := false
	for {
		reply, err := redis.ReceiveWithTimeout(c, silence)
		if err != nil {
			var refused redis.Error
			if errors.As(err, &refused) {
				return unsupported(backend.MarkReply(err))
			}
			return fmt.Errorf("the subscription broke: %w", err)
		}
		kind, payload, ok := pushed(reply)
		switch {
		case !ok:
			return fmt.Errorf("redigo: a subscription received a %T that is no message", reply)
		case kind == "subscribe":
			if !ready {
				ready = true
				events.Ready()
			}
		case kind == "message":
			events.Message(payload)
		case kind == "pong":
		default:
			return fmt.Errorf("the subscription broke: the server sent %q", kind)
		}
	}
}

// ping pings the server on c, a subscribed connection, until over is closed.
func ping(c redis.Conn, over <-chan struct{}) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-over:
			return
		case <-t.C:
		}
		if c.Send("PING") != nil || c.Flush() != nil {
			return // the receiver has it, too
		}
	}
}

// pushed reads what a server sends on a subscribed connection.
func pushed(reply any) (kind, payload string, ok bool) {
	list, _ := reply.([]any)
	if len(list) < 2 {
		return "", "", false
	}
	first, ok := list[0].([]byte)
	if !ok {
		return "", "", false
	}
	kind = string(first)
	if kind != "message" {
		return kind, "", true
	}
	last, ok := list[len(list)-1].([]byte)
	return kind, string(last), ok
}
