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
	// soon is how long it may take to notice the end of a ctx. The contract gives no number.
	const soon = 2 * time.Second
	return []rule{{
		name:  "Subscribe/hears",
		needs: []string{"Publish"},
		why:   "a waiter that misses its notification sleeps while the lock is free",
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
		why:   "a waiter queues as soon as it is ready, and may be notified at that very moment",
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
		why:   "the last message counts, so messages must not be reordered or lost",
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
			t.publish(mine[:len(mine)-1]+"x", "to nobody") // mine must not be treated as a pattern
			t.Wait(10 * time.Millisecond)
			t.publish(mine, "to me")
			l.Hears("to me")
			o.Hears("to the other")
		},
	}, {
		name:  "Subscribe/several at once",
		needs: []string{"Publish"},
		why:   "every subscriber must get a message, and one that leaves must not affect the others",
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
		why:   "a subscriber need not lock its data",
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
		why:  "an inbox that cannot be closed keeps its connection forever",
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
		why:  "the caller must be able to distinguish its own time-out from a broken connection",
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
		why:  "a caller that has given up must not be told that it is subscribed",
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
		why:   "the data that the events use may no longer exist",
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
			t.Wait(20 * time.Millisecond) // nothing may arrive in this time
		},
	}, {
		name: "Subscribe/lets others work",
		why:  "a process stays subscribed all the time, and locks meanwhile",
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
		why:   "messages may have been missed; a waiter that is not informed sleeps while the lock is free",
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
		why:   "ready means that the server has acknowledged the subscription; a dead server must not block the caller",
		run: func(t *trial) {
			t.Need(t.h.Stall != nil, "Stall")
			first := t.Listen(t.Ctx, t.Name(), 0) // skips the check if subscriptions are not supported
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
		why:   "a network that loses everything looks like one without messages",
		run: func(t *trial) {
			if !t.h.Slow {
				t.Skipf("the check takes more than ten seconds, and the harness does not set Slow")
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
