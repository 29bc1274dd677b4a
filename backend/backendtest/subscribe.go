package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A listener is a subscription under way. It watches that its events come as
// they must.
type listener struct {
	t      *trial
	cancel context.CancelFunc
	ready  chan struct{}
	done   chan struct{} // closed when Subscribe has returned err
	err    error

	inside atomic.Int32 // calls of events that run
	over   atomic.Bool  // Subscribe has returned

	mu       sync.Mutex
	readies  int
	messages []string
	arrived  chan struct{} // has room for one: look at messages
}

// listen subscribes to channel, under ctx. Slow is how long each message takes.
func (t *trial) listen(ctx context.Context, channel string, slow time.Duration) *listener {
	s := has[backend.Subscriber](t, "Subscriber")
	ctx, cancel := context.WithCancel(ctx)
	l := &listener{
		t: t, cancel: cancel,
		ready: make(chan struct{}), done: make(chan struct{}), arrived: make(chan struct{}, 1),
	}
	subscribe := func() {
		l.err = errors.New("the call of Subscribe panicked")
		l.err = s.Subscribe(ctx, channel, backend.Events{
			Ready: func() {
				defer l.enter("Ready")()
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.readies++; l.readies > 1 {
					t.report(errors.New("events.Ready was called twice"))
					return
				}
				close(l.ready)
			},
			Message: func(payload string) {
				defer l.enter("Message")()
				if slow > 0 {
					time.Sleep(slow)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.readies == 0 {
					t.report(errors.New("events.Message was called before Ready"))
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
		t.protect(subscribe)
	}()
	t.defers(func() {
		cancel()
		if !within(patience, l.done) {
			t.report(fmt.Errorf("Subscribe has not returned %v after its ctx ended", patience))
		}
	})
	return l
}

// enter reports a call of events that must not be, and returns what to call at
// its end.
func (l *listener) enter(event string) func() {
	if l.over.Load() {
		l.t.report(fmt.Errorf("events.%s was called after Subscribe had returned", event))
	}
	if l.inside.Add(1) != 1 {
		l.t.report(fmt.Errorf("events.%s was called while another call of events ran", event))
	}
	return func() { l.inside.Add(-1) }
}

// awaitReady waits until the subscription is acknowledged.
func (l *listener) awaitReady() {
	select {
	case <-l.ready:
	case <-l.done:
		l.t.stopIfFailed()
		l.t.supported(l.err)
		l.t.failf("Subscribe ended before it was ready, with the error %v", l.err)
	case <-time.After(call):
		l.t.failf("Subscribe is not ready after %v", call)
	}
}

// awaitEnd waits until Subscribe has returned, and returns its error.
func (l *listener) awaitEnd(patience time.Duration, when string) error {
	if !within(patience, l.done) {
		l.t.failf("Subscribe has not returned %v after %s", patience, when)
	}
	l.t.stopIfFailed()
	return l.err
}

// hears waits for the messages want, in this order. Where a node is a cluster
// a message may come again.
func (l *listener) hears(want ...string) {
	timer := time.NewTimer(patience)
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
					missing = quote(want[next])
				}
				l.t.failf("the subscriber heard %s as its message %d, want %s", quote(m), next+1, missing)
			}
		}
		if next == len(want) {
			return
		}
		select {
		case <-l.arrived:
		case <-l.done:
			l.t.stopIfFailed()
			l.t.failf("Subscribe ended with the error %v after %d of %d messages", l.err, next, len(want))
		case <-timer.C:
			by := ""
			if l.t.published.Load() {
				by = ", or Publish of the harness has not sent it"
			}
			l.t.failf("the subscriber heard %d of %d messages, and not %s%s", next, len(want), quote(want[next]), by)
		}
	}
}

func (t *trial) publish(channel string, payloads ...string) {
	t.published.Store(true)
	ctx, cancel := context.WithTimeout(t.ctx, call)
	defer cancel()
	for _, p := range payloads {
		if err := t.h.Publish(ctx, t.n, channel, p); err != nil {
			t.failf("the harness cannot Publish: %w", err)
		}
	}
}

func subscriberChecks() []check {
	// soon is how long the end of a ctx may take to be noticed. The contract
	// gives no number.
	const soon = 2 * time.Second
	return []check{{
		name:  "Subscribe/hears",
		needs: []string{"Publish"},
		why:   "a waiter that does not hear that it is called sleeps on a free lock",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			channel := t.name()
			l := t.listen(t.ctx, channel, 0)
			l.awaitReady()
			t.publish(channel, "one")
			l.hears("one")
			t.publish(channel, "two")
			l.hears("one", "two")
		},
	}, {
		name:  "Subscribe/Ready means heard",
		needs: []string{"Publish"},
		why:   "a waiter queues as soon as it is ready; the call may come at that very moment",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			for range 20 {
				channel := t.name()
				l := t.listen(t.ctx, channel, 0)
				l.awaitReady()
				t.publish(channel, "now")
				l.hears("now")
				l.cancel()
				l.awaitEnd(soon, "its ctx ended")
			}
		},
	}, {
		name:  "Subscribe/order",
		needs: []string{"Publish"},
		why:   "the last word counts, so words must not change places, nor get lost",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			channel := t.name()
			l := t.listen(t.ctx, channel, 0)
			l.awaitReady()
			var want []string
			for i := range 200 {
				want = append(want, fmt.Sprint("message ", i))
			}
			t.publish(channel, want...)
			l.hears(want...)
		},
	}, {
		name:  "Subscribe/bytes",
		needs: []string{"Publish"},
		why:   "messages carry keys, and keys are arbitrary bytes",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			channel := t.keyFor("{a}\x00\r\n ключ \xff")
			l := t.listen(t.ctx, channel, 0)
			l.awaitReady()
			want := []string{"", strings.Repeat("x", 1<<16)}
			for _, o := range oddities() {
				if len(o.text) < 1<<16 {
					want = append(want, o.text)
				}
			}
			t.publish(channel, want...)
			l.hears(want...)
		},
	}, {
		name:  "Subscribe/own channel",
		needs: []string{"Publish"},
		why:   "each process has its own inbox",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			mine, other := t.name()+"*", t.name()
			l, o := t.listen(t.ctx, mine, 0), t.listen(t.ctx, other, 0)
			l.awaitReady()
			o.awaitReady()
			t.publish(other, "to the other")
			t.publish(mine[:len(mine)-1]+"x", "to nobody") // mine is no pattern
			t.wait(10 * time.Millisecond)
			t.publish(mine, "to me")
			l.hears("to me")
			o.hears("to the other")
		},
	}, {
		name:  "Subscribe/several at once",
		needs: []string{"Publish"},
		why:   "a message is for everybody who listens, and one who leaves must not take the others with him",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			channel := t.name()
			var all []*listener
			for range 3 {
				all = append(all, t.listen(t.ctx, channel, 0))
			}
			for _, l := range all {
				l.awaitReady()
			}
			t.publish(channel, "one")
			for _, l := range all {
				l.hears("one")
			}
			all[0].cancel()
			all[0].awaitEnd(soon, "its ctx ended")
			t.publish(channel, "two")
			for _, l := range all[1:] {
				l.hears("one", "two")
			}
		},
	}, {
		name:  "Subscribe/one call at a time",
		needs: []string{"Publish"},
		why:   "who listens need not lock what he keeps",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			channel := t.name()
			l := t.listen(t.ctx, channel, 2*time.Millisecond)
			l.awaitReady()
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint(i))
			}
			t.publish(channel, want...)
			l.hears(want...)
		},
	}, {
		name: "Subscribe/ends with ctx",
		why:  "an inbox that cannot be closed holds its connection for ever",
		run: func(t *trial) {
			l := t.listen(t.ctx, t.name(), 0)
			l.awaitReady()
			l.cancel()
			if err := l.awaitEnd(soon, "its ctx was cancelled"); !errors.Is(err, context.Canceled) {
				t.failf("Subscribe, when its ctx was cancelled, ended with the error %v, want one that matches %v", err, context.Canceled)
			}
		},
	}, {
		name: "Subscribe/ends at the deadline",
		why:  "the caller must be able to tell his own time-out from a broken connection",
		run: func(t *trial) {
			var err error
			for budget := 4 * short; budget <= 64*short; budget *= 4 {
				ctx, cancel := context.WithTimeout(t.ctx, budget)
				defer cancel()
				l := t.listen(ctx, t.name(), 0)
				err = l.awaitEnd(budget+soon, "it began")
				t.supported(err)
				if errors.Is(err, context.DeadlineExceeded) {
					return
				}
			}
			t.failf("Subscribe, at its deadline, ended with the error %v, want one that matches %v", err, context.DeadlineExceeded)
		},
	}, {
		name: "Subscribe/ended ctx",
		why:  "who has given up must not be told that he is subscribed",
		run: func(t *trial) {
			ctx, cancel := context.WithCancel(t.ctx)
			cancel()
			l := t.listen(ctx, t.name(), 0)
			err := l.awaitEnd(soon, "it began, with a ctx that had ended")
			t.supported(err)
			if !errors.Is(err, context.Canceled) {
				t.failf("Subscribe with a ctx that has ended has the error %v, want one that matches %v", err, context.Canceled)
			}
			select {
			case <-l.ready:
				t.failf("Subscribe with a ctx that has ended was ready")
			default:
			}
		},
	}, {
		name:  "Subscribe/nothing after the end",
		needs: []string{"Publish"},
		why:   "what the events write to may be gone",
		run: func(t *trial) {
			t.need(t.h.Publish != nil, "Publish")
			for range 5 {
				channel := t.name()
				l := t.listen(t.ctx, channel, 0)
				l.awaitReady()
				t.publish(channel, "one", "two")
				l.cancel()
				l.awaitEnd(soon, "its ctx ended")
				t.publish(channel, "three")
			}
			t.wait(20 * time.Millisecond) // for what must not come
		},
	}, {
		name: "Subscribe/lets others work",
		why:  "a process listens all day, and locks meanwhile",
		run: func(t *trial) {
			l := t.listen(t.ctx, t.name(), 0)
			l.awaitReady()
			key, token := t.name(), t.name()
			for range 10 {
				t.setNX(key, token, long, true, "a free key, while a subscription runs")
				t.evalDelete(key, token, true, "a key by its holder, while a subscription runs")
			}
		},
	}, {
		name:  "Subscribe/broken connection",
		needs: []string{"Disconnect"},
		why:   "messages may have been missed meanwhile: a waiter that is not told sleeps on a free lock",
		run: func(t *trial) {
			l := t.listen(t.ctx, t.name(), 0)
			l.awaitReady()
			t.disconnect()
			err := l.awaitEnd(15*time.Second, "its connection broke, or was to be broken by Disconnect of the harness")
			if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, errors.ErrUnsupported) {
				t.failf("Subscribe, when its connection broke, ended with the error %v, want one that says so", err)
			}
			t.answers()
			l = t.listen(t.ctx, t.name(), 0)
			l.awaitReady()
		},
	}, {
		name:  "Subscribe/stalled server",
		needs: []string{"Stall"},
		why:   "ready means that the server has said so, not that it was asked; and a server that is gone must not hold the caller",
		run: func(t *trial) {
			t.need(t.h.Stall != nil, "Stall")
			first := t.listen(t.ctx, t.name(), 0) // or it says that it is unsupported
			first.awaitReady()
			first.cancel()
			first.awaitEnd(soon, "its ctx ended")

			resume := t.stall()
			ctx, cancel := context.WithTimeout(t.ctx, 100*time.Millisecond)
			defer cancel()
			l := t.listen(ctx, t.name(), 0)
			err := l.awaitEnd(100*time.Millisecond+soon, "it began")
			resume()
			select {
			case <-l.ready:
				t.failf("Subscribe was ready before the server had acknowledged it")
			default:
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.failf("Subscribe on a server that does not answer ended with the error %v, want one that matches %v", err, context.DeadlineExceeded)
			}
		},
	}, {
		name:  "Subscribe/silent connection",
		needs: []string{"Stall"},
		why:   "a network that swallows everything looks like one on which nothing happens",
		run: func(t *trial) {
			if !t.h.Slow {
				t.skipf("it takes more than ten seconds, and the harness does not set Slow")
			}
			l := t.listen(t.ctx, t.name(), 0)
			l.awaitReady()
			resume := t.stall()
			err := l.awaitEnd(15*time.Second, "the server stopped answering")
			resume()
			if err == nil || errors.Is(err, context.Canceled) {
				t.failf("Subscribe, when the server stopped answering, ended with the error %v, want one that says so", err)
			}
		},
	}}
}
