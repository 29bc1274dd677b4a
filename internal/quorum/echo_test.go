package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/notify"
)

// A deafNode loses messages.
type deafNode struct {
	*memory.Node
	loses *atomic.Bool
}

func (n deafNode) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	message := events.Message
	events.Message = func(payload string) {
		if !n.loses.Load() {
			message(payload)
		}
	}
	return n.Node.Subscribe(ctx, channel, events)
}

// deafProcess returns a process that hears no messages while loses is set.
func (w *world) deafProcess(loses *atomic.Bool) *process {
	w.t.Helper()
	return w.processOver(full, func(mem *memory.Node) backend.Node { return deafNode{mem, loses} })
}

// toldPolls returns what the process was told of nodes on which it polls.
func (p *process) toldPolls() []string {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return slices.Clone(p.polls)
}

// answersError has a node answer with err.
func answersError(err error) faulty.Fault {
	return faulty.Each(func(context.Context, backend.Op, func(context.Context) backend.Result) backend.Result {
		return backend.Result{Err: err}
	})
}

// drain has each of processes lock a key that another holds, and release it at once. It returns
// how long after the release by the holder they all have had it.
func (w *world) drain(processes []*process) time.Duration {
	w.t.Helper()
	held := w.process(full).mustAcquire("k")
	synctest.Wait()
	var all sync.WaitGroup
	for _, p := range processes {
		all.Go(func() {
			a, err := p.lock(context.Background(), "k")
			if err != nil {
				w.t.Error(err)
				return
			}
			release(a)
		})
	}
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	release(held)
	all.Wait()
	return time.Since(start)
}

// Where no messages arrive, or scripts may not publish, waiters poll. They come by the lock as
// soon as with nodes that have no subscriptions, and each process says once what is wrong.
func TestWaitingWithoutMessages(t *testing.T) {
	long.Test(t)
	const waiters, trip = 40, time.Millisecond
	forbids := errors.New("ERR This Redis command is not allowed from script")
	for _, n := range []int{1, 3} {
		// With several nodes it is chance whose attempts split the votes, so that one drain in
		// some hundred takes twice as long as usual. The median does not.
		median := func(drain func(t *testing.T, w *world) time.Duration) time.Duration {
			var took []time.Duration
			for range n {
				inWorldOf(t, n, full, func(t *testing.T, w *world) { took = append(took, drain(t, w)) })
			}
			slices.Sort(took)
			return took[n/2]
		}
		polling := median(func(_ *testing.T, w *world) time.Duration {
			var all []*process
			for range waiters {
				all = append(all, w.process(scripted).distant(trip))
			}
			return w.drain(all)
		})
		for _, tc := range []struct {
			name   string
			refuse error // echoes
			says   string
		}{
			{"messages are lost", nil, "they do not arrive"},
			{"scripts may not publish", forbids, forbids.Error()},
			{"the user may not publish", backend.MarkReply(errors.New("NOPERM no right to PUBLISH")), "NOPERM no right to PUBLISH"},
		} {
			took := median(func(t *testing.T, w *world) time.Duration {
				var loses atomic.Bool
				loses.Store(true)
				var all []*process
				for range waiters {
					p := w.deafProcess(&loses).distant(trip)
					if tc.refuse != nil {
						p.set(faulty.On(isEcho, answersError(tc.refuse)), faulty.Delay(trip/2), faulty.DelayReply(trip/2))
					}
					all = append(all, p)
				}
				took := w.drain(all)
				time.Sleep(2 * time.Second) // what is wrong may be known later than that
				told := 0
				for i, p := range all {
					list := p.toldPolls()
					told += len(list)
					if len(list) > n {
						t.Errorf("%d nodes, %s: process %d was told %q, want each node once", n, tc.name, i, list)
					}
					for _, text := range list {
						if !strings.Contains(text, tc.says) {
							t.Errorf("%d nodes, %s: it was told %q, want %q", n, tc.name, text, tc.says)
						}
					}
				}
				if told == 0 {
					t.Errorf("%d nodes, %s: nobody was told", n, tc.name)
				}
				return took
			})
			t.Logf("%d nodes, %s: %d waiters had the lock after %v, by polling after %v", n, tc.name, waiters, took, polling)
			if most := time.Duration(min(n, 2))*polling + 300*time.Millisecond; took > most {
				t.Errorf("%d nodes, %s: the last of %d waiters had the lock after %v, want at most %v", n, tc.name, waiters, took, most)
			}
		}
	}
}

// Where messages cease to arrive, those that sleep begin to poll after some seconds. When they
// arrive again, waiters are notified again after a minute.
func TestMessagesThatCease(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			var loses atomic.Bool
			p := w.deafProcess(&loses)
			for i := range n {
				w.mem[i].Set("k", "foreign", time.Hour)
			}
			waiter := p.mustJoin("k")
			p.lose(waiter)
			if got := p.hears(); slices.Contains(got, false) {
				t.Fatalf("it hears %v, want all", got)
			}
			loses.Store(true)
			start := time.Now()
			for !waiter.polls {
				if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
					t.Fatal(err)
				}
				p.lose(waiter)
			}
			if took := time.Since(start); took > notify.MinSilence+notify.EchoLate {
				t.Errorf("%d nodes: it polls %v after the last message, want at most %v", n, took, notify.MinSilence+notify.EchoLate)
			}
			time.Sleep(10 * time.Millisecond) // it polls as soon as enough nodes are out of use
			// Its tickets are dead: nothing is reserved for a waiter that hears nothing.
			for i := range n {
				if r, err := w.mem[i].Eval(context.Background(), lua.Echo, []string{"k"}, []string{waiter.local.Ticket()[3:], "x"}); err != nil || r[0] != int64(0) {
					t.Errorf("node %d: its channel has a subscriber: %v, %v", i, r, err)
				}
			}
			loses.Store(false)
			time.Sleep(notify.MuteAgain + time.Second)
			if got := p.hears(); slices.Contains(got, false) {
				t.Errorf("%d nodes: a minute later it hears %v, want all", n, got)
			}
			p.lose(waiter)
			if waiter.polls {
				t.Errorf("%d nodes: a minute later it polls", n)
			}
			if list := p.toldPolls(); len(list) != n {
				t.Errorf("%d nodes: it was told %q, want each node once", n, list)
			}
			waiter.leave()
		})
	}
}

// A node that takes long to let an echo be heard holds up no attempt for longer than echoSoon. It is
// used when the echo has come, and nothing is told.
func TestLateEcho(t *testing.T) {
	const late = 400 * time.Millisecond
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.mem[0].Set("k", "foreign", time.Hour)
		p := w.processOver(full, func(mem *memory.Node) backend.Node { return slowMessages{mem, late} })
		start := time.Now()
		waiter := p.mustJoin("k")
		p.lose(waiter)
		if took := time.Since(start); took != notify.EchoSoon {
			t.Errorf("the first attempt took %v, want %v", took, notify.EchoSoon)
		}
		if !waiter.polls || p.hears()[0] {
			t.Errorf("it polls: %v, and hears: %v, before an echo has come", waiter.polls, p.hears())
		}
		time.Sleep(late)
		p.lose(waiter)
		if waiter.polls || !p.hears()[0] {
			t.Errorf("it polls: %v, and hears: %v, after an echo has come", waiter.polls, p.hears())
		}
		if list := p.toldPolls(); len(list) != 0 {
			t.Errorf("it was told %q", list)
		}
		waiter.leave()
	})
}

type slowMessages struct {
	*memory.Node
	by time.Duration
}

func (n slowMessages) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	message := events.Message
	events.Message = func(payload string) {
		time.Sleep(n.by)
		message(payload)
	}
	return n.Node.Subscribe(ctx, channel, events)
}

// A server that does not know of the subscription, as a new master for a while, is subscribed to
// again. That is told if it goes on, and waiters are notified soon after it has ended.
func TestSubscriptionUnknown(t *testing.T) {
	for _, tc := range []struct {
		lasts time.Duration
		told  int
	}{{2 * time.Second, 0}, {30 * time.Second, 1}} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.mem[0].Set("k", "foreign", time.Hour)
			p := w.process(full)
			p.set(faulty.On(isEcho, faulty.Each(func(context.Context, backend.Op, func(context.Context) backend.Result) backend.Result {
				return backend.Result{Reply: backend.Reply{int64(0)}}
			})))
			waiter := p.mustJoin("k")
			p.lose(waiter)
			if !waiter.polls {
				t.Error("it does not poll")
			}
			time.Sleep(tc.lasts)
			p.set()
			time.Sleep(2 * notify.MaxResubscribe)
			p.lose(waiter)
			if waiter.polls {
				t.Errorf("%v after that is over, it still polls", 2*notify.MaxResubscribe)
			}
			list := p.toldPolls()
			if len(list) != tc.told || tc.told > 0 && !strings.Contains(list[0], "it does not know of") {
				t.Errorf("after %v it was told %q, want it %d times", tc.lasts, list, tc.told)
			}
			waiter.leave()
		})
	}
}

// A server that gives no echo for now, as while it loads its data, is asked again and not told
// of. One that answers with an error of its own again and again is.
func TestEchoFails(t *testing.T) {
	for _, tc := range []struct {
		err  error
		told bool
	}{
		{backend.MarkReply(errors.New("LOADING the dataset")), false},
		{context.DeadlineExceeded, false},
		{errors.New("ERR something of its own"), true},
	} {
		t.Run(fmt.Sprint(tc.err), func(t *testing.T) {
			inWorldOf(t, 1, full, func(t *testing.T, w *world) {
				w.mem[0].Set("k", "foreign", time.Hour)
				p := w.process(full)
				p.set(faulty.On(isEcho, answersError(tc.err)))
				waiter := p.mustJoin("k")
				start := time.Now()
				p.lose(waiter)
				if took := time.Since(start); took != 0 {
					t.Errorf("the first attempt took %v, want no time", took)
				}
				time.Sleep(5 * time.Second)
				p.lose(waiter)
				if !waiter.polls {
					t.Error("it does not poll")
				}
				p.set()
				if list := p.toldPolls(); (len(list) == 1) != tc.told || len(list) > 1 || tc.told && !strings.Contains(list[0], tc.err.Error()) {
					t.Errorf("it was told %q", list)
				}
				again := 2 * notify.MaxResubscribe
				if tc.told {
					again = notify.MuteAgain
				}
				time.Sleep(again)
				p.lose(waiter)
				if waiter.polls {
					t.Errorf("%v later it still polls", again)
				}
				waiter.leave()
			})
		})
	}
}
