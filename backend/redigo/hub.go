package redigo

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

// hubs has the hubs of this process, by hubKey.
var hubs = struct {
	mu    sync.Mutex
	byKey map[any]*hub
}{byKey: make(map[any]*hub)}

// hubKey returns a value that is the same for all Nodes over one pool.
func hubKey(pool Pool, s *supply) any {
	if reflect.ValueOf(pool).Kind() == reflect.Pointer {
		return pool
	}
	return s // the pool may not be comparable
}

// errStarved ends a subscription whose connection is needed by commands.
var errStarved = errors.New("the pool has no connection left for commands, which go first")

// A hub is one connection of a pool. All subscriptions of this process over that pool
// share it, whatever their Nodes. One goroutine takes the connection, receives and
// returns the connection; another one writes. Both end when nobody listens any more, when
// the connection breaks, or when commands need it.
type hub struct {
	key  any
	ctx  context.Context // ends when the connection has to be returned
	stop context.CancelCauseFunc
	wake chan struct{} // capacity 1; receives when there is something to write
	done chan struct{} // closed when the connection has been returned
	err  error         // why the hub ended; set when done is closed

	mu     sync.Mutex // locked after that of hubs, if both are locked
	held   bool       // it has a connection
	topics map[string]*topic
	todo   []request // to be written
	sent   []request // taken by the writer, and not answered; answers come in this order
}

// A topic is a channel and its listeners.
type topic struct {
	channel   string
	listeners []*listener
	acked     chan struct{} // closed when the server has acknowledged
	refused   chan struct{} // closed when it has refused
	err       error         // the refusal; set when refused is closed
}

// A listener is one call of Subscribe.
type listener struct {
	topic    *topic
	messages chan string
	over     chan struct{} // closed when it takes no more messages
}

// A request is a command that the server answers in turn.
type request struct {
	command string // SUBSCRIBE, UNSUBSCRIBE or PING
	topic   *topic // for SUBSCRIBE and UNSUBSCRIBE
}

// join adds a listener for channel to the hub for key. It makes the hub if there is none,
// with a connection from s.
func join(key any, s *supply, channel string) (*hub, *listener) {
	l := &listener{messages: make(chan string, 64), over: make(chan struct{})}
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	h := hubs.byKey[key]
	if h == nil {
		h = &hub{key: key, wake: make(chan struct{}, 1), done: make(chan struct{}), topics: make(map[string]*topic)}
		h.ctx, h.stop = context.WithCancelCause(context.Background())
		hubs.byKey[key] = h
		go h.run(s)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[channel]
	if t == nil {
		t = &topic{channel: channel, acked: make(chan struct{}), refused: make(chan struct{})}
		h.topics[channel] = t
		h.order(request{"SUBSCRIBE", t})
	}
	t.listeners = append(t.listeners, l)
	l.topic = t
	return h, l
}

// leave ends l. If l was the last listener of the hub, it returns when the connection has
// been returned.
func (h *hub) leave(l *listener) {
	close(l.over)
	if h.remove(l) {
		<-h.done
	}
}

// remove removes l from the hub, and reports whether it was the last listener.
func (h *hub) remove(l *listener) (last bool) {
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	t := l.topic
	t.listeners = slices.DeleteFunc(t.listeners, func(other *listener) bool { return other == l })
	if len(t.listeners) > 0 {
		return false
	}
	if h.topics[t.channel] == t { // otherwise the server has refused it
		delete(h.topics, t.channel)
		h.order(request{"UNSUBSCRIBE", t})
	}
	if len(h.topics) > 0 {
		return false
	}
	h.end(nil)
	return true
}

// end makes the hub return its connection, because of cause. New listeners get another
// hub. The caller holds the mutex of hubs.
func (h *hub) end(cause error) {
	if hubs.byKey[h.key] == h {
		delete(hubs.byKey, h.key)
	}
	h.stop(cause)
}

// giveUp makes the hub for key return its connection for commands, and returns true when
// it has. It returns false if there is no hub with a connection, or when ctx ends.
func giveUp(ctx context.Context, key any) bool {
	hubs.mu.Lock()
	h := hubs.byKey[key]
	if h != nil {
		h.mu.Lock()
		held := h.held
		h.mu.Unlock()
		if !held {
			h = nil
		} else {
			h.end(errStarved)
		}
	}
	hubs.mu.Unlock()
	if h == nil {
		return false
	}
	select {
	case <-h.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// errDemoted ends a subscription to a server that has turned out to be a replica.
var errDemoted = errors.New("the server is a replica")

// demoted ends the hub for key, if there is one, because its server is a replica and
// another one may have its name by now.
func demoted(key any) {
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	if h := hubs.byKey[key]; h != nil {
		h.end(errDemoted)
	}
}

// order schedules r for writing. The caller holds the hub's mutex.
func (h *hub) order(r request) {
	h.todo = append(h.todo, r)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run serves the listeners until the hub ends.
func (h *hub) run(s *supply) {
	defer close(h.done)
	h.err = h.serve(s)
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	h.end(h.err)
}

// serve takes a connection from s and serves the listeners on it.
func (h *hub) serve(s *supply) error {
	within, cancel := context.WithTimeout(h.ctx, silence)
	c, err := s.take(within)
	cancel()
	switch {
	case err == nil:
	case h.ctx.Err() != nil:
		return context.Cause(h.ctx)
	case errors.Is(err, context.DeadlineExceeded):
		// The deadline is ours, so the error must not match that of the caller's ctx.
		return backend.MarkNotExecuted(fmt.Errorf("no connection for a subscription within %v: %v", silence, hideURL(err)))
	default:
		return backend.MarkNotExecuted(fmt.Errorf("no connection for a subscription: %w", failure(h.ctx, err)))
	}
	h.mu.Lock()
	h.held = true
	h.mu.Unlock()

	defer s.back(c)
	w := watchEnd(h.ctx, c)
	defer s.over(w)
	// Receiving and sending need two goroutines, because a receive that times out breaks
	// the connection.
	over, writing := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(writing)
		h.write(c, over)
	}()
	// Break the connection. Otherwise the pool would wait for the server to unsubscribe it.
	// No goroutine may still use it.
	defer func() {
		close(over)
		breakConn(c) // it may be writing
		<-writing
	}()
	err = h.receive(c)
	if h.ctx.Err() != nil {
		return context.Cause(h.ctx)
	}
	return err
}

// write writes the scheduled requests, and a PING at intervals, until over is closed or
// the connection breaks, which the receiver notices.
func (h *hub) write(c redis.Conn, over <-chan struct{}) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		h.mu.Lock()
		batch := h.todo
		h.todo = nil
		h.sent = append(h.sent, batch...)
		h.mu.Unlock()
		for _, r := range batch {
			var args []any
			if r.topic != nil {
				args = []any{r.topic.channel}
			}
			if c.Send(r.command, args...) != nil {
				return
			}
		}
		if len(batch) > 0 && c.Flush() != nil {
			return
		}
		select {
		case <-over:
			return
		case <-h.wake:
		case <-t.C:
			h.mu.Lock()
			h.order(request{command: "PING"})
			h.mu.Unlock()
		}
	}
}

// receive passes on what arrives, until something fails.
func (h *hub) receive(c redis.Conn) error {
	for {
		reply, err := redis.ReceiveWithTimeout(c, silence)
		if err != nil {
			var refused redis.Error
			if !errors.As(err, &refused) {
				return fmt.Errorf("the subscription broke: %w", err)
			}
			if err = unsupported(backend.MarkReply(err)); !h.refuse(err) {
				return err
			}
			continue
		}
		kind, channel, payload, ok := pushed(reply)
		switch {
		case !ok:
			return fmt.Errorf("redigo: a subscription received a %T that is no message", reply)
		case kind == "message":
			h.pass(channel, payload)
		case kind == "pong":
			h.answer("PING")
		case kind == "subscribe" && h.answer("SUBSCRIBE"):
		case kind == "unsubscribe" && h.answer("UNSUBSCRIBE"):
		default:
			return fmt.Errorf("the subscription broke: the server sent %q", kind)
		}
	}
}

// answer records an answer to a command, and reports whether one was expected.
func (h *hub) answer(command string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sent) == 0 || h.sent[0].command != command {
		return false
	}
	if command == "SUBSCRIBE" {
		close(h.sent[0].topic.acked)
	}
	h.sent = h.sent[1:]
	return true
}

// refuse records that the server answered a command with err, and reports whether an
// answer was expected. A user without the right to UNSUBSCRIBE still receives messages,
// to which nobody listens.
func (h *hub) refuse(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sent) == 0 {
		return false
	}
	r := h.sent[0]
	h.sent = h.sent[1:]
	if r.command == "SUBSCRIBE" {
		if h.topics[r.topic.channel] == r.topic {
			delete(h.topics, r.topic.channel) // the next listener asks again
		}
		r.topic.err = err
		close(r.topic.refused)
	}
	return true
}

// pass sends a message to all listeners of channel.
func (h *hub) pass(channel, payload string) {
	h.mu.Lock()
	var to []*listener
	if t := h.topics[channel]; t != nil {
		to = slices.Clone(t.listeners)
	}
	h.mu.Unlock()
	for _, l := range to {
		select {
		case l.messages <- payload:
		case <-l.over:
		case <-h.ctx.Done():
		}
	}
}
