package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

const (
	// After a node has published an echo, attempts wait for so long to hear it. Later they
	// go on without the inbox.
	echoSoon = 50 * time.Millisecond

	// An echo that has not been heard for so long is lost. A server that answers with errors for so
	// long gives none.
	echoLate = time.Second

	// An inbox that has heard nothing for so long asks for an echo while somebody waits. It
	// does so after twice the time, and so on, if it goes on hearing nothing else.
	minSilence = 2 * time.Second
	maxSilence = 32 * time.Second

	// manyUnknown is how many subscriptions in a row a server does not know of before that is
	// told. While a replica takes its master's place there may be one or two.
	manyUnknown = 3
)

var (
	errUnheard = errors.New("it publishes notifications, but they do not arrive on the waiter's subscription")
	errUnknown = errors.New("it does not know of the waiter's subscription (PUBSUB NUMSUB)")
)

// echo is the payload by which an inbox recognizes its own message. It looks like no
// notification.
const echo = "e"

// A hearing is a subscription of an inbox while the inbox makes sure that it hears what the
// node publishes. A server that does not let scripts publish, or a proxy that loses messages,
// would otherwise have waiters sleep on free locks. So the inbox is open on a node only after
// it has heard an echo, and asks for another one when it has heard nothing for a while.
type hearing struct {
	inbox  *inbox
	index  int
	member *member
	opened func()        // the first echo has been heard
	heard  chan struct{} // has room for one: a message has come
}

// hear notes that a message has come.
func (h *hearing) hear() {
	select {
	case h.heard <- struct{}{}:
	default:
	}
}

// forget forgets the messages that have come, and reports whether there were any.
func (h *hearing) forget() bool {
	select {
	case <-h.heard:
		return true
	default:
		return false
	}
}

// within waits for a message, for d at most, and reports whether one came.
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

// watch asks for echoes until ctx ends, and then returns nil. It returns why if the node gives
// no echo, or none that is heard, and errUnknown if the subscription is to be made again.
func (h *hearing) watch(ctx context.Context) error {
	pause, silence, opened := minResubscribe, minSilence, false
	answered := time.Now() // or failed in a way that may pass
	for ctx.Err() == nil {
		h.forget()
		err := h.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			heard := h.within(ctx, echoSoon)
			if !heard {
				h.inbox.settle(h.index)
				heard = h.within(ctx, echoLate-echoSoon)
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
			pause = minResubscribe
			if h.awaitSilence(ctx, silence) {
				silence = minSilence
			} else {
				silence = min(2*silence, maxSilence)
			}
			answered = time.Now()
			continue
		case errors.Is(err, backend.ErrRefused) || errors.Is(err, errors.ErrUnsupported):
			return fmt.Errorf("it does not let scripts notify waiters: %w", err)
		case passes(err):
			answered = time.Now()
		case time.Since(answered) < echoLate:
		case errors.Is(err, errUnknown):
			return errUnknown
		default:
			return fmt.Errorf("it does not let scripts notify waiters: %w", err)
		}
		// The node may be away for now. Whether it is, the subscription will tell.
		h.inbox.settle(h.index)
		h.within(ctx, pause)
		pause = min(2*pause, maxResubscribe)
	}
	return nil
}

// awaitSilence returns when the inbox has heard nothing for d and somebody waits. It reports
// whether the inbox has heard anything before; then that is minSilence ago.
func (h *hearing) awaitSilence(ctx context.Context, d time.Duration) (heard bool) {
	for ctx.Err() == nil {
		if h.within(ctx, d) {
			heard, d = true, minSilence
			// Messages that come by the thousand are not to wake this goroutine as often.
			timer := time.NewTimer(minSilence / 2)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		} else if h.inbox.group.lines.awaited() {
			break
		}
	}
	return heard
}

// ask has the node publish an echo.
func (h *hearing) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	op := proto.Echo{Lock: h.inbox.key, Channel: h.inbox.channel, Payload: echo}.Op()
	r := op.Do(ctx, h.member.node)
	if r.Err != nil {
		return r.Err
	}
	if heard, err := r.Reply.Int(0); err != nil || heard == 0 {
		return errUnknown
	}
	return nil
}

// passes reports whether err says nothing about what a server lets a script do: it is about
// the connection, or about the state of the server.
func passes(err error) bool {
	var network net.Error
	return backend.NotExecuted(err) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed)
}
