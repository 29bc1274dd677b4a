package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A Listener is a running subscription. It checks the order of its events.
type Listener struct {
	t      *T
	Cancel context.CancelFunc // ends the ctx of Subscribe
	Ready  chan struct{}      // closed when the subscription is acknowledged
	done   chan struct{}      // closed when Subscribe has returned err
	err    error

	inside atomic.Int32 // event functions that are running
	over   atomic.Bool  // Subscribe has returned

	mu       sync.Mutex
	readies  int
	messages []string
	arrived  chan struct{} // has room for one: messages has changed
}

// Listen subscribes to channel under ctx. Handling each message takes slow.
func (t *T) Listen(ctx context.Context, channel string, slow time.Duration) *Listener {
	s := Has[backend.Subscriber](t, "Subscriber")
	ctx, cancel := context.WithCancel(ctx)
	l := &Listener{
		t: t, Cancel: cancel,
		Ready: make(chan struct{}), done: make(chan struct{}), arrived: make(chan struct{}, 1),
	}
	subscribe := func() {
		l.err = errors.New("the call of Subscribe panicked")
		l.err = s.Subscribe(ctx, channel, backend.Events{
			Ready: func() {
				defer l.enter("Ready")()
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.readies++; l.readies > 1 {
					t.Report(errors.New("events.Ready was called twice"))
					return
				}
				close(l.Ready)
			},
			Message: func(payload string) {
				defer l.enter("Message")()
				if slow > 0 {
					time.Sleep(slow)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.readies == 0 {
					t.Report(errors.New("events.Message was called before Ready"))
				}
				l.messages = append(l.messages, payload)
				select {
				case l.arrived <- struct{}{}:
				default:
				}
			},
		})
		l.over.Store(true)
	}
	go func() {
		defer close(l.done)
		t.Protect(subscribe)
	}()
	t.Defer(func() {
		cancel()
		if !within(Patience, l.done) {
			t.Report(fmt.Errorf("the call of Subscribe has not returned %v after its ctx ended", Patience))
		}
	})
	return l
}

// enter reports a call of an event function that is not allowed now. It returns a
// function to call at the end of the event.
func (l *Listener) enter(event string) func() {
	if l.over.Load() {
		l.t.Report(fmt.Errorf("events.%s was called after Subscribe had returned", event))
	}
	if l.inside.Add(1) != 1 {
		l.t.Report(fmt.Errorf("events.%s was called while another call of events ran", event))
	}
	return func() { l.inside.Add(-1) }
}

// AwaitReady waits until the subscription is acknowledged.
func (l *Listener) AwaitReady() {
	select {
	case <-l.Ready:
	case <-l.done:
		l.t.StopIfFailed()
		l.t.Supported(l.err)
		l.t.Failf("Subscribe ended before it was ready, with the error %v", l.err)
	case <-time.After(Call):
		l.t.Failf("Subscribe is not ready after %v", Call)
	}
}

// AwaitEnd waits up to patience until Subscribe has returned, and returns its error.
func (l *Listener) AwaitEnd(patience time.Duration, when string) error {
	if !within(patience, l.done) {
		l.t.Failf("Subscribe has not returned %v after %s", patience, when)
	}
	l.t.StopIfFailed()
	return l.err
}

// Hears waits for the messages want, in this order. On a Cluster, a message may arrive
// more than once.
func (l *Listener) Hears(want ...string) {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		heard := slices.Clone(l.messages)
		l.mu.Unlock()
		next := 0
		for _, m := range heard {
			switch {
			case next < len(want) && m == want[next]:
				next++
			case slices.Contains(want[:next], m):
			default:
				missing := "nothing more"
				if next < len(want) {
					missing = Quote(want[next])
				}
				l.t.Failf("the subscriber heard %s as its message %d, want %s", Quote(m), next+1, missing)
			}
		}
		if next == len(want) {
			return
		}
		select {
		case <-l.arrived:
		case <-l.done:
			l.t.StopIfFailed()
			l.t.Failf("Subscribe ended with the error %v after %d of %d messages", l.err, next, len(want))
		case <-timer.C:
			by := ""
			if l.t.Published.Load() {
				by = ", or Publish of the harness has not sent it"
			}
			l.t.Failf("the subscriber heard %d of %d messages, and not %s%s", next, len(want), Quote(want[next]), by)
		}
	}
}
