package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/quorumlock/quorumlock/backend"
)

// listen subscribes in the background and returns once the subscription is ready. The messages
// and the error may be read after the channel is closed.
func listen(ctx context.Context, n *Node, channel string) (messages *[]string, result *error, done chan struct{}) {
	messages, result, done = new([]string), new(error), make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(done)
		*result = n.Subscribe(ctx, channel, backend.Events{
			Ready:   func() { close(ready) },
			Message: func(m string) { *messages = append(*messages, m) },
		})
	}()
	<-ready
	return messages, result, done
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		ctx, cancel := context.WithCancel(t.Context())
		a, aErr, aDone := listen(ctx, n, "news")
		b, bErr, bDone := listen(t.Context(), n, "news")
		if heard := n.Publish("other", "no"); heard != 0 {
			t.Errorf("%d subscribers got a message on a channel without subscribers", heard)
		}
		want := []string{"", "\x00", "caf\xc3\xa9\r\n"}
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
		}
		for _, m := range want {
			if heard := n.Publish("news", m); heard != 2 {
				t.Fatalf("%d subscribers got the message, want 2", heard)
			}
		}
		synctest.Wait()
		cancel()
		<-aDone
		if !errors.Is(*aErr, context.Canceled) || !slices.Equal(*a, want) {
			t.Errorf("the cancelled subscriber got %q and ended with %v", *a, *aErr)
		}
		if heard := n.Publish("news", "last"); heard != 1 {
			t.Errorf("%d subscribers got the message, want 1", heard)
		}
		n.Disconnect()
		<-bDone
		if !errors.Is(*bErr, ErrDisconnected) || !slices.Equal(*b, append(want, "last")) {
			t.Errorf("the disconnected subscriber got %q and ended with %v", *b, *bErr)
		}
		if len(n.db.channels) != 0 {
			t.Errorf("subscriptions are left: %v", n.db.channels)
		}
	})
}

// After the end of ctx no message arrives, not even one that was published before.
func TestNoMessageAfterTheEnd(t *testing.T) {
	n := New()
	ctx, cancel := context.WithCancel(t.Context())
	var messages []string
	err := n.Subscribe(ctx, "news", backend.Events{
		Ready: func() { n.Publish("news", "1"); n.Publish("news", "2") },
		Message: func(m string) {
			messages = append(messages, m)
			cancel()
		},
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(messages, []string{"1"}) {
		t.Errorf("got %q and %v", messages, err)
	}
}

func TestSlowSubscriber(t *testing.T) {
	n := New()
	heard := 0
	err := n.Subscribe(t.Context(), "news", backend.Events{
		Ready: func() {
			for range maxPending + 2 {
				n.Publish("news", "")
			}
		},
		Message: func(string) { heard++ },
	})
	if !errors.Is(err, ErrSlow) || heard != maxPending {
		t.Errorf("got %d messages, ended with %v, want %d and %v", heard, err, maxPending, ErrSlow)
	}
	if heard := n.Publish("news", ""); heard != 0 {
		t.Errorf("%d subscribers are left", heard)
	}
}
