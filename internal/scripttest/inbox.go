package scripttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/check"
)

// An inbox collects what a node publishes on a channel.
type inbox struct {
	cancel context.CancelFunc
	ready  chan struct{}
	done   chan struct{} // closed when the subscription has ended, with err
	err    error

	mu       sync.Mutex
	messages []string
	arrived  chan struct{} // has room for one: messages has changed
}

// openInbox subscribes to channel on n, and returns once it is subscribed. The caller
// must close the inbox unless there is an error.
func openInbox(ctx context.Context, n backend.Node, channel string) (*inbox, error) {
	s, ok := backend.As[backend.Subscriber](n)
	if !ok {
		return nil, fmt.Errorf("the node is no Subscriber: %w", errors.ErrUnsupported)
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &inbox{cancel: cancel, ready: make(chan struct{}), done: make(chan struct{}), arrived: make(chan struct{}, 1)}
	go func() {
		defer close(b.done)
		b.err = s.Subscribe(ctx, channel, backend.Events{
			Ready: func() { close(b.ready) },
			Message: func(payload string) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.messages = append(b.messages, payload)
				select {
				case b.arrived <- struct{}{}:
				default:
				}
			},
		})
	}()
	select {
	case <-b.ready:
		return b, nil
	case <-b.done:
		cancel()
		return nil, b.err
	case <-time.After(call):
		b.close()
		return nil, fmt.Errorf("the subscription is not ready after %v", call)
	}
}

// close ends the subscription.
func (b *inbox) close() {
	b.cancel()
	<-b.done
}

// until waits for the message last, and returns the messages before it.
func (b *inbox) until(last string) ([]string, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		b.mu.Lock()
		i := slices.Index(b.messages, last)
		heard := slices.Clone(b.messages)
		b.mu.Unlock()
		if i >= 0 {
			return heard[:i], nil
		}
		select {
		case <-b.arrived:
		case <-b.done:
			return nil, fmt.Errorf("the subscription ended: %w", b.err)
		case <-timer.C:
			return nil, fmt.Errorf("the message %s has not come within %v, but %d others", check.Quote(last), patience, len(heard))
		}
	}
}
