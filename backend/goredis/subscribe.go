package goredis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

var (
	errResubscribed = errors.New("goredis: the driver subscribed anew")
	errNoAck        = errors.New("goredis: a server did not acknowledge a subscription in time")
	errMoved        = errors.New("goredis: the cluster has other masters now")
)

// Subscribe implements [backend.Subscriber] with one connection to each master, in
// addition to those of the client's pool. It sends a PING on each every three seconds,
// and ends when nothing has arrived on one for eight. It calls the functions of events on
// several goroutines, one at a time. For a Cluster it reads the map (CLUSTER SLOTS) every
// two seconds, and sooner after a command was redirected. It ends when the masters have
// changed.
//
// The error matches [errors.ErrUnsupported] if the client is neither a [redis.Client] nor
// a [redis.ClusterClient], and if the server does not let the user subscribe. If ctx ends
// while Subscribe is connecting to a server that does not answer, the attempt may go on
// for up to five seconds, or with TLS for the client's DialTimeout.
func (n *Node) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	masters, subs, err := n.connect(ctx, channel)
	if err != nil {
		return err
	}
	events.Ready()

	var (
		mu     sync.Mutex // one event at a time
		wg     sync.WaitGroup
		broken = make(chan error, len(subs)+1)
	)
	for _, s := range subs {
		wg.Go(func() {
			broken <- s.receive(n.silence, func(payload string) {
				mu.Lock()
				defer mu.Unlock()
				events.Message(payload)
			})
		})
	}
	inner, end := context.WithCancel(ctx)
	defer end()
	if c, ok := n.route.(*cluster); ok {
		wg.Go(func() { broken <- c.watch(inner, masters, n.remap) })
	}
	err = n.watch(ctx, subs, broken)
	end()
	for _, s := range subs {
		s.close()
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("goredis: subscription broken: %w", marked(err))
}

// watch returns an error when ctx ends or when broken receives one.
func (n *Node) watch(ctx context.Context, subs []*subscription, broken <-chan error) error {
	beat := time.NewTicker(n.heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-beat.C:
			for _, s := range subs {
				if err := s.ping(n.heartbeat); err != nil {
					return err
				}
			}
		}
	}
}

// connect subscribes on every master, and returns when all have acknowledged.
func (n *Node) connect(ctx context.Context, channel string) ([]*redis.Client, []*subscription, error) {
	setup, cancel := context.WithTimeout(ctx, n.setup)
	defer cancel()
	masters, err := n.route.masters(setup)
	var subs []*subscription
	if err == nil {
		subs, err = subscribeAll(setup, masters, channel)
	} else {
		err = marked(err)
	}
	switch {
	case err == nil:
		return masters, subs, nil
	case end(ctx) != nil:
		return nil, nil, end(ctx)
	case end(setup) != nil:
		return nil, nil, fmt.Errorf("%w: %v", errNoAck, marked(err))
	}
	return nil, nil, fmt.Errorf("goredis: subscribe: %w", err)
}

// end returns the error of ctx, even between its deadline, at which reads fail, and the
// timer that ends it.
func end(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func subscribeAll(ctx context.Context, masters []*redis.Client, channel string) ([]*subscription, error) {
	type attempt struct {
		sub *subscription
		err error
	}
	attempts := make(chan attempt, len(masters))
	for _, m := range masters {
		go func() {
			sub, err := subscribe(ctx, m, channel)
			attempts <- attempt{sub, err}
		}()
	}
	var (
		subs []*subscription
		err  error
	)
	left := len(masters) // the number of attempts under way
	for left > 0 && err == nil {
		select {
		case a := <-attempts:
			left--
			if err = a.err; err == nil {
				subs = append(subs, a.sub)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err == nil {
		return subs, nil
	}
	for _, s := range subs {
		s.close()
	}
	if left > 0 {
		// They end with their own time-outs, because nothing can interrupt the driver there.
		go func() {
			for range left {
				if a := <-attempts; a.err == nil {
					a.sub.close()
				}
			}
		}()
	}
	return nil, err
}

// A subscription is one connection that is subscribed to one channel. If the connection
// breaks, the driver would silently connect and subscribe again. The settings here
// prevent that.
type subscription struct {
	pubsub *redis.PubSub
}

// subscribe returns when the server has acknowledged the subscription.
func subscribe(ctx context.Context, client *redis.Client, channel string) (*subscription, error) {
	own := clone(client)
	o := own.Options()
	// With RESP3 the driver waits for the next 36 bytes, even if a whole message is shorter,
	// and a server may tell it to change to another server.
	o.Protocol = 2
	s := &subscription{own.Subscribe(ctx)}
	if err := s.pubsub.Subscribe(ctx, channel); err != nil {
		s.close()
		return nil, marked(err)
	}
	o.Network = "no second connection" // no dialer knows it
	msg, err := s.next(ctx, 0)
	if err != nil {
		s.close()
		err = marked(err)
		if errors.Is(err, backend.ErrRefused) {
			err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		return nil, err
	}
	if ack, ok := msg.(*redis.Subscription); !ok || ack.Kind != "subscribe" || ack.Channel != channel {
		s.close()
		return nil, fmt.Errorf("goredis: SUBSCRIBE answered %v", msg)
	}
	return s, nil
}

// over is a context that has ended. With it, the driver reads and writes, but does not
// dial.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// receive calls message for each message. It returns an error when the subscription is
// closed, breaks, or is silent for longer than silence.
func (s *subscription) receive(silence time.Duration, message func(payload string)) error {
	for {
		// After a time-out the stream may be in the middle of a message, so a time-out
		// always ends the subscription.
		msg, err := s.next(over, silence)
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *redis.Message:
			message(msg.Payload)
		case *redis.Subscription:
			return errResubscribed
		}
	}
}

// next returns what the server sends next, within timeout, or by the deadline of ctx if
// timeout is 0. If the server sends something that is no message, the driver panics. Callers
// could not recover that, because it happens on a goroutine of the Node.
func (s *subscription) next(ctx context.Context, timeout time.Duration) (msg any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("goredis: the driver cannot read what the server sent: %v", p)
		}
	}()
	return s.pubsub.ReceiveTimeout(ctx, timeout)
}

// ping requests a sign of life, which receive notices.
func (s *subscription) ping(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	cancel() // see over; the deadline still counts
	return s.pubsub.Ping(ctx)
}

// marked returns err with the marks of an error reply, if it is one. Otherwise it returns
// err without an address that may contain a password. It does not mark a time-out,
// because that is not one of the caller's context.
func marked(err error) error {
	if isReply(err) {
		return backend.MarkReply(err)
	}
	return backend.HideAddress(err)
}

func (s *subscription) close() {
	// It fails only if it was closed before.
	_ = s.pubsub.Close()
}
