package backendtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/check"
)

func (t *trial) publish(channel string, payloads ...string) {
	t.Published.Store(true)
	ctx, cancel := context.WithTimeout(t.Ctx, call)
	defer cancel()
	for _, p := range payloads {
		if err := t.h.Publish(ctx, t.Node, channel, p); err != nil {
			t.Failf("the harness cannot Publish: %w", err)
		}
	}
}

func subscriberChecks() []rule {
	// soon is how long the end of a ctx may take to be noticed. The contract
	// gives no number.
	const soon = 2 * time.Second
	return []rule{{
		name:  "Subscribe/hears",
		needs: []string{"Publish"},
		why:   "a waiter that does not hear that it is called sleeps on a free lock",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			channel := t.Name()
			l := t.Listen(t.Ctx, channel, 0)
			l.AwaitReady()
			t.publish(channel, "one")
			l.Hears("one")
			t.publish(channel, "two")
			l.Hears("one", "two")
		},
	}, {
		name:  "Subscribe/Ready means heard",
		needs: []string{"Publish"},
		why:   "a waiter queues as soon as it is ready; the call may come at that very moment",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			for range 20 {
				channel := t.Name()
				l := t.Listen(t.Ctx, channel, 0)
				l.AwaitReady()
				t.publish(channel, "now")
				l.Hears("now")
				l.Cancel()
				l.AwaitEnd(soon, "its ctx ended")
			}
		},
	}, {
		name:  "Subscribe/order",
		needs: []string{"Publish"},
		why:   "the last word counts, so words must not change places, nor get lost",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			channel := t.Name()
			l := t.Listen(t.Ctx, channel, 0)
			l.AwaitReady()
			var want []string
			for i := range 200 {
				want = append(want, fmt.Sprint("message ", i))
			}
			t.publish(channel, want...)
			l.Hears(want...)
		},
	}, {
		name:  "Subscribe/bytes",
		needs: []string{"Publish"},
		why:   "messages carry keys, and keys are arbitrary bytes",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			channel := t.KeyFor("{a}\x00\r\n ключ \xff")
			l := t.Listen(t.Ctx, channel, 0)
			l.AwaitReady()
			want := []string{"", strings.Repeat("x", 1<<16)}
			for _, o := range check.Oddities() {
				if len(o.Text) < 1<<16 {
					want = append(want, o.Text)
				}
			}
			t.publish(channel, want...)
			l.Hears(want...)
		},
	}, {
		name:  "Subscribe/own channel",
		needs: []string{"Publish"},
		why:   "each process has its own inbox",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			mine, other := t.Name()+"*", t.Name()
			l, o := t.Listen(t.Ctx, mine, 0), t.Listen(t.Ctx, other, 0)
			l.AwaitReady()
			o.AwaitReady()
			t.publish(other, "to the other")
			t.publish(mine[:len(mine)-1]+"x", "to nobody") // mine is no pattern
			t.Wait(10 * time.Millisecond)
			t.publish(mine, "to me")
			l.Hears("to me")
			o.Hears("to the other")
		},
	}, {
		name:  "Subscribe/several at once",
		needs: []string{"Publish"},
		why:   "a message is for everybody who listens, and one who leaves must not take the others with him",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			channel := t.Name()
			var all []*check.Listener
			for range 3 {
				all = append(all, t.Listen(t.Ctx, channel, 0))
			}
			for _, l := range all {
				l.AwaitReady()
			}
			t.publish(channel, "one")
			for _, l := range all {
				l.Hears("one")
			}
			all[0].Cancel()
			all[0].AwaitEnd(soon, "its ctx ended")
			t.publish(channel, "two")
			for _, l := range all[1:] {
				l.Hears("one", "two")
			}
		},
	}, {
		name:  "Subscribe/one call at a time",
		needs: []string{"Publish"},
		why:   "who listens need not lock what he keeps",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			channel := t.Name()
			l := t.Listen(t.Ctx, channel, 2*time.Millisecond)
			l.AwaitReady()
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint(i))
			}
			t.publish(channel, want...)
			l.Hears(want...)
		},
	}, {
		name: "Subscribe/ends with ctx",
		why:  "an inbox that cannot be closed holds its connection for ever",
		run: func(t *trial) {
			l := t.Listen(t.Ctx, t.Name(), 0)
			l.AwaitReady()
			l.Cancel()
			if err := l.AwaitEnd(soon, "its ctx was cancelled"); !errors.Is(err, context.Canceled) {
				t.Failf("Subscribe, when its ctx was cancelled, ended with the error %v, want one that matches %v", err, context.Canceled)
			}
		},
	}, {
		name: "Subscribe/ends at the deadline",
		why:  "the caller must be able to tell his own time-out from a broken connection",
		run: func(t *trial) {
			var err error
			for budget := 4 * short; budget <= 64*short; budget *= 4 {
				ctx, cancel := context.WithTimeout(t.Ctx, budget)
				defer cancel()
				l := t.Listen(ctx, t.Name(), 0)
				err = l.AwaitEnd(budget+soon, "it began")
				t.Supported(err)
				if errors.Is(err, context.DeadlineExceeded) {
					return
				}
			}
			t.Failf("Subscribe, at its deadline, ended with the error %v, want one that matches %v", err, context.DeadlineExceeded)
		},
	}, {
		name: "Subscribe/ended ctx",
		why:  "who has given up must not be told that he is subscribed",
		run: func(t *trial) {
			ctx, cancel := context.WithCancel(t.Ctx)
			cancel()
			l := t.Listen(ctx, t.Name(), 0)
			err := l.AwaitEnd(soon, "it began, with a ctx that had ended")
			t.Supported(err)
			if !errors.Is(err, context.Canceled) {
				t.Failf("Subscribe with a ctx that has ended has the error %v, want one that matches %v", err, context.Canceled)
			}
			select {
			case <-l.Ready:
				t.Failf("Subscribe with a ctx that has ended was ready")
			default:
			}
		},
	}, {
		name:  "Subscribe/nothing after the end",
		needs: []string{"Publish"},
		why:   "what the events write to may be gone",
		run: func(t *trial) {
			t.Need(t.h.Publish != nil, "Publish")
			for range 5 {
				channel := t.Name()
				l := t.Listen(t.Ctx, channel, 0)
				l.AwaitReady()
				t.publish(channel, "one", "two")
				l.Cancel()
				l.AwaitEnd(soon, "its ctx ended")
				t.publish(channel, "three")
			}
			t.Wait(20 * time.Millisecond) // for what must not come
		},
	}, {
		name: "Subscribe/lets others work",
		why:  "a process listens all day, and locks meanwhile",
		run: func(t *trial) {
			l := t.Listen(t.Ctx, t.Name(), 0)
			l.AwaitReady()
			key, token := t.Name(), t.Name()
			for range 10 {
				t.SetNX(key, token, long, true, "a free key, while a subscription runs")
				t.EvalDelete(key, token, true, "a key by its holder, while a subscription runs")
			}
		},
	}, {
		name:  "Subscribe/broken connection",
		needs: []string{"Disconnect"},
		why:   "messages may have been missed meanwhile: a waiter that is not told sleeps on a free lock",
		run: func(t *trial) {
			l := t.Listen(t.Ctx, t.Name(), 0)
			l.AwaitReady()
			t.disconnect()
			err := l.AwaitEnd(15*time.Second, "its connection broke, or was to be broken by Disconnect of the harness")
			if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, errors.ErrUnsupported) {
				t.Failf("Subscribe, when its connection broke, ended with the error %v, want one that says so", err)
			}
			t.answers()
			l = t.Listen(t.Ctx, t.Name(), 0)
			l.AwaitReady()
		},
	}, {
		name:  "Subscribe/stalled server",
		needs: []string{"Stall"},
		why:   "ready means that the server has said so, not that it was asked; and a server that is gone must not hold the caller",
		run: func(t *trial) {
			t.Need(t.h.Stall != nil, "Stall")
			first := t.Listen(t.Ctx, t.Name(), 0) // or it says that it is unsupported
			first.AwaitReady()
			first.Cancel()
			first.AwaitEnd(soon, "its ctx ended")

			resume := t.stall()
			ctx, cancel := context.WithTimeout(t.Ctx, 100*time.Millisecond)
			defer cancel()
			l := t.Listen(ctx, t.Name(), 0)
			err := l.AwaitEnd(100*time.Millisecond+soon, "it began")
			resume()
			select {
			case <-l.Ready:
				t.Failf("Subscribe was ready before the server had acknowledged it")
			default:
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Failf("Subscribe on a server that does not answer ended with the error %v, want one that matches %v", err, context.DeadlineExceeded)
			}
		},
	}, {
		name:  "Subscribe/silent connection",
		needs: []string{"Stall"},
		why:   "a network that swallows everything looks like one on which nothing happens",
		run: func(t *trial) {
			if !t.h.Slow {
				t.Skipf("it takes more than ten seconds, and the harness does not set Slow")
			}
			l := t.Listen(t.Ctx, t.Name(), 0)
			l.AwaitReady()
			resume := t.stall()
			err := l.AwaitEnd(15*time.Second, "the server stopped answering")
			resume()
			if err == nil || errors.Is(err, context.Canceled) {
				t.Failf("Subscribe, when the server stopped answering, ended with the error %v, want one that says so", err)
			}
		},
	}}
}
