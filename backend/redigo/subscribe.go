package redigo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// pingEvery is how often a subscription requests a sign of life from the server.
	pingEvery = 3 * time.Second

	// silence is how long a subscription waits for its connection, or for anything to arrive
	// on it, before it considers the connection dead.
	silence = 9 * time.Second
)

// Subscribe listens on channel; see [backend.Subscriber]. All subscriptions of this
// process over one pool share one of its connections, whatever their Nodes. The last one
// closes it. The error matches [errors.ErrUnsupported] if the pool allows only one
// connection (MaxActive is 1), if the server does not have SUBSCRIBE, and if it does not
// let this user listen on channel.
//
// Commands have priority. If a command waits for a connection for 100 ms, or finds the
// pool exhausted, while the subscriptions have a connection, they return it and end.
// Subscribe then fails at once for a second, and for twice as long each time that this
// happens again, up to a minute. After more than a minute without this, it is a second
// again. If the pool is exhausted, Subscribe fails, or waits for up to nine seconds if the
// pool waits.
func (n *Node) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if err := ended(ctx); err != nil {
		return backend.MarkNotExecuted(err)
	}
	if p := n.conns.own; p != nil && p.MaxActive == 1 {
		return backend.MarkNotExecuted(fmt.Errorf("%w: the pool's only connection cannot be given to a subscription", errors.ErrUnsupported))
	}
	if left := n.holdOff.left(); left > 0 {
		return backend.MarkNotExecuted(fmt.Errorf("no subscription for another %v: %w", left.Round(time.Millisecond), errStarved))
	}
	h, l := join(n.conns.key, n.conns, channel)
	defer h.leave(l) // deferred because the functions of events may panic
	select {
	case <-l.topic.acked:
	case <-l.topic.refused:
		return l.topic.err
	case <-h.done:
		return n.ended(ctx, h)
	case <-ctx.Done():
		return ctx.Err()
	}
	events.Ready()
	for {
		select {
		case message := <-l.messages:
			events.Message(message)
		case <-h.done:
			for len(l.messages) > 0 {
				events.Message(<-l.messages)
			}
			return n.ended(ctx, h)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended returns the result of Subscribe when its hub has ended.
func (n *Node) ended(ctx context.Context, h *hub) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(h.err, errStarved) {
		n.holdOff.begin()
		return fmt.Errorf("the subscription gave its connection back: %w", h.err)
	}
	return h.err
}

const (
	firstHoldOff   = time.Second
	longestHoldOff = time.Minute
)

// A holdOff is a time without subscriptions, because commands need the pool's
// connections. Each one is twice as long as the one before, unless that ended long ago.
type holdOff struct {
	mu    sync.Mutex
	until time.Time
	next  time.Duration
}

func (h *holdOff) left() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Until(h.until)
}

// begin begins a holdOff, unless one is under way: all subscriptions that end together call
// it.
func (h *holdOff) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	over := time.Since(h.until)
	if over < 0 {
		return
	}
	if over > longestHoldOff {
		h.next = firstHoldOff
	}
	h.until = time.Now().Add(h.next)
	h.next = min(2*h.next, longestHoldOff)
}

// pushed reads what a server sends on a subscribed connection.
func pushed(reply any) (kind, channel, payload string, ok bool) {
	list, _ := reply.([]any)
	if len(list) < 2 {
		return "", "", "", false
	}
	first, ok := list[0].([]byte)
	if !ok {
		return "", "", "", false
	}
	kind = string(first)
	if kind != "message" {
		return kind, "", "", true
	}
	to, ok1 := list[1].([]byte)
	last, ok2 := list[len(list)-1].([]byte)
	return kind, string(to), string(last), ok1 && ok2
}
