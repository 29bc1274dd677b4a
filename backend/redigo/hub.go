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

// hubs is the hubs of this process, by hubKey.
var hubs = struct {
	mu    sync.Mutex
	byKey map[any]*hub
}{byKey: make(map[any]*hub)}

// hubKey returns what the Nodes over one pool have in common.
func hubKey(pool Pool, s *supply) any {
	if reflect.ValueOf(pool).Kind() == reflect.Pointer {
		return pool
	}
	return s // it may not be comparable
}

// errStarved ends a subscription whose connection is needed by commands.
var errStarved = errors.New("the pool has no connection left for commands, which go first")

// A hub is one connection of a pool on which all subscriptions of this process listen, of
// whatever Node over the pool. It has one goroutine that takes the connection, receives
// and gives it back, and one that writes. Both end when nobody listens any more, when the
// connection breaks, or when it is given up for commands.
type hub struct {
	key  any
	ctx  context.Context // ends when the connection is to be given back
	stop context.CancelCauseFunc
	wake chan struct{} // has room for one: there is something to write
	done chan struct{} // closed when the connection has been given back
	err  error         // why; once done is closed

	mu     sync.Mutex // taken after that of the hubs, if both are
	held   bool       // it has a connection
	topics map[string]*topic
	todo   []request // to be written
	sent   []request // taken by the writer, and not answered; answers come in this order
}

// A topic is a channel, and who listens to it.
type topic struct {
	channel   string
	listeners []*listener
	acked     chan struct{} // closed when the server has acknowledged
	refused   chan struct{} // closed when it has refused
	err       error         // once refused is closed
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
	topic   *topic // of the first two
}

// join has a listener listen to channel, on the hub for key, which is made if there is
// none. The connection is taken from s.
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

// leave ends l. If it was the last one of the hub, it returns when the connection has been
// given back.
func (h *hub) leave(l *listener) {
	close(l.over)
	if h.remove(l) {
		<-h.done
	}
}

// remove takes l out of the hub, and reports whether it was the last one.
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
	if h.topics[t.channel] == t { // else the server has refused it
		delete(h.topics, t.channel)
		h.order(request{"UNSUBSCRIBE", t})
	}
	if len(h.topics) > 0 {
		return false
	}
	h.end(nil)
	return true
}

// end has the hub give its connection back, because of cause. Who comes from now on gets
// another hub. The hubs are locked.
func (h *hub) end(cause error) {
	if hubs.byKey[h.key] == h {
		delete(hubs.byKey, h.key)
	}
	h.stop(cause)
}

// giveUp has the hub for key, if there is one with a connection, give that back for
// commands, and returns true when it has. It returns false if there is none, or when ctx
// ends.
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

// demoted ends the hub for key, if there is one, because its server is a replica: another one
// may be behind the name by now.
func demoted(key any) {
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	if h := hubs.byKey[key]; h != nil {
		h.end(errDemoted)
	}
}

// order has r written. The hub is locked.
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

// serve does what a hub does, on a connection from s.
func (h *hub) serve(s *supply) error {
	within, cancel := context.WithTimeout(h.ctx, silence)
	c, err := s.take(within)
	cancel()
	switch {
	case err == nil:
	case h.ctx.Err() != nil:
		return context.Cause(h.ctx)
	case errors.Is(err, context.DeadlineExceeded):
		// Ours, and not to be taken for the caller's.
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
	// Receiving and sending may go on at the same time. A receive that times
	// out breaks the connection, so one goroutine cannot do both.
	over, writing := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(writing)
		h.write(c, over)
	}()
	// The connection is left broken, or the pool would wait for the server to take it out of
	// the channels, and in use by nobody.
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

// write writes what is ordered, and a PING every so often, until over is closed or the
// connection breaks, which the receiver notices.
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

// receive passes on what comes, until something fails.
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

// answer notes an answer to a command, and reports whether one was due.
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

// refuse notes that the server answered a command with err, and reports whether an answer
// was due. A user who may not UNSUBSCRIBE goes on hearing what nobody listens to.
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
			delete(h.topics, r.topic.channel) // who comes next asks again
		}
		r.topic.err = err
		close(r.topic.refused)
	}
	return true
}

// pass gives a message to everyone who listens to channel.
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
