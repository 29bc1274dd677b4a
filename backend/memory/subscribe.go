package memory

import (
	"context"
	"errors"
	"slices"

	"github.com/quorumlock/quorumlock/backend"
)

// ErrDisconnected is the error of a subscription that [Node.Disconnect] broke.
var ErrDisconnected = errors.New("memory: the subscription was disconnected")

// ErrSlow is the error of a subscription that took its messages too slowly.
var ErrSlow = errors.New("memory: the subscriber fell too far behind")

// maxPending is the most messages that may be pending for a subscriber. A server has such
// a limit too.
const maxPending = 1 << 16

// A subscription is one call of Subscribe. The node's mutex guards its fields. wake has a
// capacity of one, which is enough.
type subscription struct {
	pending []string
	broken  error
	wake    chan struct{}
}

// tell wakes the subscriber.
func (s *subscription) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Subscribe listens on channel until ctx ends or [Node.Disconnect] breaks the
// subscription, and blocks all that time; see [backend.Subscriber]. It calls
// events on the caller's goroutine.
func (n *Node) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if err := ended(ctx); err != nil {
		return err
	}
	s := &subscription{wake: make(chan struct{}, 1)}
	n.subscribe(channel, s)
	defer n.unsubscribe(channel, s)

	events.Ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		}
		messages, broken := n.take(s)
		for _, m := range messages {
			if err := ctx.Err(); err != nil {
				return err
			}
			events.Message(m)
		}
		if broken != nil {
			return broken
		}
	}
}

// Publish sends payload to every subscription of channel and returns their number. It
// does not wait until they have received it.
func (n *Node) Publish(channel, payload string) int {
	db := n.begin()
	defer n.mu.Unlock()
	return db.publish(channel, payload)
}

// Disconnect breaks every subscription, like the loss of its connection. Each
// subscription receives the messages that have already arrived, and ends with
// [ErrDisconnected]. New ones may be made at once. Keys stay; see [Node.Flush].
func (n *Node) Disconnect() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for channel, subs := range n.db.channels {
		for _, s := range subs {
			s.broken = ErrDisconnected
			s.tell()
		}
		delete(n.db.channels, channel)
	}
}

func (n *Node) subscribe(channel string, s *subscription) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.db.channels == nil {
		n.db.channels = make(map[string][]*subscription)
	}
	n.db.channels[channel] = append(n.db.channels[channel], s)
}

func (n *Node) unsubscribe(channel string, s *subscription) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.db.drop(channel, s)
}

// take returns the pending messages of s, and its error if it is broken.
func (n *Node) take(s *subscription) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	messages := s.pending
	s.pending = nil
	return messages, s.broken
}

func (db *db) publish(channel, payload string) int {
	subs := db.channels[channel]
	heard := len(subs)
	for _, s := range slices.Clone(subs) { // drop changes subs
		if len(s.pending) >= maxPending {
			s.broken = ErrSlow
			db.drop(channel, s)
			heard--
		} else {
			s.pending = append(s.pending, payload)
		}
		s.tell()
	}
	return heard
}

// drop removes s from channel, if it is there.
func (db *db) drop(channel string, s *subscription) {
	subs := db.channels[channel]
	i := slices.Index(subs, s)
	if i < 0 {
		return
	}
	subs = slices.Delete(subs, i, i+1)
	if len(subs) == 0 {
		delete(db.channels, channel)
		return
	}
	db.channels[channel] = subs
}
