package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/sender"
)

const (
	// EchoSoon is how long attempts wait for an echo after a node has published it. Then
	// they go on without the inbox.
	EchoSoon = 50 * time.Millisecond

	// An echo that has not arrived after EchoLate is lost. A server that has answered
	// with errors for this long is assumed to publish no echoes.
	EchoLate = time.Second

	// An inbox that has heard nothing for MinSilence asks for an echo while somebody
	// waits. The interval doubles, up to maxSilence, while it hears nothing but echoes.
	MinSilence = 2 * time.Second
	maxSilence = 32 * time.Second

	// manyUnknown is how many subscriptions in a row a server must not know of before
	// this is reported. One or two are normal during a failover to a replica.
	manyUnknown = 3
)

var (
	errUnheard = errors.New("it publishes notifications, but they do not arrive on the waiter's subscription")
	errUnknown = errors.New("it does not know of the waiter's subscription (PUBSUB NUMSUB)")
)

// echo is the payload of an inbox's message to itself. It cannot be confused with a
// notification.
const echo = "e"

// A hearing is one subscription of an inbox. It makes sure that the inbox receives what
// the node publishes. If a server does not let scripts publish, or a proxy loses
// messages, waiters would sleep while the lock is free. So the inbox is open on a node
// only once an echo has arrived, and asks for another one when it has heard nothing for a
// while.
type hearing struct {
	inbox  *Inbox
	index  int
	node   backend.Node
	opened func()        // called when the first echo has arrived
	heard  chan struct{} // has room for one: a message has arrived
}

// hear notes that a message has arrived.
func (h *hearing) hear() {
	select {
	case h.heard <- struct{}{}:
	default:
	}
}

// forget clears the note that a message has arrived, and reports whether there was one.
func (h *hearing) forget() bool {
	select {
	case <-h.heard:
		return true
	default:
		return false
	}
}

// within waits up to d for a message, and reports whether one arrived.
func (h *hearing) within(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-h.heard:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// watch asks for echoes until ctx ends, and then returns nil. It returns errUnknown if
// the subscription has to be made again, and another error if the node publishes no
// echoes or they do not arrive.
func (h *hearing) watch(ctx context.Context) error {
	pause, silence, opened := MinResubscribe, MinSilence, false
	answered := time.Now() // or failed in a way that may pass
	for ctx.Err() == nil {
		h.forget()
		err := h.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			heard := h.within(ctx, EchoSoon)
			if !heard {
				h.inbox.settle(h.index)
				heard = h.within(ctx, EchoLate-EchoSoon)
			}
			if ctx.Err() != nil {
				return nil
			}
			if !heard {
				return errUnheard
			}
			if !opened {
				opened = true
				h.opened()
			}
			pause = MinResubscribe
			if h.awaitSilence(ctx, silence) {
				silence = MinSilence
			} else {
				silence = min(2*silence, maxSilence)
			}
			answered = time.Now()
			continue
		case errors.Is(err, backend.ErrRefused) || errors.Is(err, errors.ErrUnsupported):
			return fmt.Errorf("it does not let scripts notify waiters: %w", err)
		case passes(err):
			answered = time.Now()
		case time.Since(answered) < EchoLate:
		case errors.Is(err, errUnknown):
			return errUnknown
		default:
			return fmt.Errorf("it does not let scripts notify waiters: %w", err)
		}
		// The node may be away for a while. The subscription will find out.
		h.inbox.settle(h.index)
		h.within(ctx, pause)
		pause = min(2*pause, MaxResubscribe)
	}
	return nil
}

// awaitSilence returns when the inbox has heard nothing for d while somebody waits. It
// reports whether a message arrived before that; after a message, the silence needed is
// MinSilence.
func (h *hearing) awaitSilence(ctx context.Context, d time.Duration) (heard bool) {
	for ctx.Err() == nil {
		if h.within(ctx, d) {
			heard, d = true, MinSilence
			// Sleep, so that thousands of messages do not wake this goroutine each time.
			timer := time.NewTimer(MinSilence / 2)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		} else if h.inbox.cfg.Awaited() {
			break
		}
	}
	return heard
}

// ask makes the node publish an echo.
func (h *hearing) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sender.CallTimeout)
	defer cancel()
	op := proto.Echo{Lock: h.inbox.cfg.Lock, Channel: h.inbox.cfg.Channel, Payload: echo}.Op()
	r := op.Do(ctx, h.node)
	if r.Err != nil {
		return r.Err
	}
	if heard, err := r.Reply.Int(0); err != nil || heard == 0 {
		return errUnknown
	}
	return nil
}

// passes reports whether err says nothing about what the server lets scripts do, because
// it is about the connection or the state of the server.
func passes(err error) bool {
	var network net.Error
	return backend.NotExecuted(err) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed)
}
