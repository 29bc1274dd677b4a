package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/round"
)

var subscribing = faulty.Kind(faulty.OpSubscribe)

// hears returns from which nodes messages arrive at the process.
func (p *process) hears() []bool {
	p.locals.mu.Lock()
	defer p.locals.mu.Unlock()
	heard := make([]bool, len(p.Members))
	for i := range heard {
		heard[i] = p.locals.inbox != nil && p.locals.inbox.Hears(i)
	}
	return heard
}

// stirred reports whether w has been told to try again.
func (w *waiter) isStirred() bool {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return w.stirred
}

// A try waits for the subscriptions, so that it can be queued, and no longer than
// for a node.
func TestInboxIsAwaited(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "foreign", time.Minute)
		}
		p := w.process(full)
		p.set(faulty.On(subscribing, faulty.Delay(40*time.Millisecond)))
		start := time.Now()
		waiter := p.mustJoin("k")
		p.lose(waiter)
		if took := time.Since(start); took != 40*time.Millisecond {
			t.Errorf("the first try took %v, want as long as it takes to subscribe", took)
		}
		if got := w.queued("k"); !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("tickets are queued %v, want one on each node", got)
		}
		waiter.leave()
	})
}

// Every node counts once, also one whose subscription breaks meanwhile and is made again.
func TestInboxIsAwaitedOnEachNode(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "foreign", time.Minute)
		}
		p := w.process(full)
		for _, f := range p.fault[1:] {
			f.Set(faulty.On(subscribing, faulty.Delay(100*time.Millisecond)))
		}
		start := time.Now()
		waiter := p.mustJoin("k")
		for i := range 3 {
			time.AfterFunc(time.Duration(i+1)*20*time.Millisecond, p.fault[0].Disconnect)
		}
		p.lose(waiter)
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the first try took %v, want as long as it takes the last node to subscribe", took)
		}
		if got := w.queued("k"); !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("tickets are queued %v, want one on each node", got)
		}
		waiter.leave()
	})
}

// A minority where subscribing hangs holds up the first try alone.
func TestInboxOfAHungMinority(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "foreign", time.Minute)
		}
		p := w.process(full).distant(2 * time.Millisecond)
		p.fault[2].Set(faulty.On(subscribing, faulty.Hang()))
		waiter := p.mustJoin("k")
		for _, want := range []time.Duration{timeout + 2*time.Millisecond, 2 * time.Millisecond, 2 * time.Millisecond} {
			start := time.Now()
			p.lose(waiter)
			if took := time.Since(start); took != want {
				t.Errorf("a try took %v, want %v", took, want)
			}
		}
		waiter.leave()
		time.Sleep(time.Second)
		second := p.mustJoin("k") // the inbox is still open
		start := time.Now()
		p.lose(second)
		if took := time.Since(start); took != 2*time.Millisecond {
			t.Errorf("the next waiter's try took %v, want a round trip", took)
		}
		second.leave()
	})
}

// await ends with ctx.
func TestInboxAwaitedUntilCtxEnds(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		p.set(faulty.On(subscribing, faulty.Hang()))
		waiter := p.mustJoin("k")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		a, res := waiter.acquire(ctx, nil, w.token(), ttl, timeout)
		switch {
		case res.Verdict == round.Won: // the answer was there before it was noticed that ctx had ended
			defer release(a)
		case res.CtxErr == nil:
			t.Errorf("after the end of ctx: %v", res)
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("it took %v, want until ctx ends", took)
		}
		waiter.leave()
	})
}

// A subscription that breaks is made again, after a pause that grows, and then who
// waits tries again.
func TestReconnect(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "foreign", time.Hour)
		}
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.fault[1].Disconnect()
		synctest.Wait()
		if got := p.hears(); !slices.Equal(got, []bool{true, false, true}) {
			t.Errorf("it hears %v", got)
		}
		if waiter.isStirred() {
			t.Error("it is to try again before the subscription is back")
		}
		start := time.Now()
		if err := waiter.wait(context.Background(), time.Hour, 0); err != nil || time.Since(start) > notify.MinResubscribe {
			t.Errorf("it waited for %v, %v, want until the subscription was back", time.Since(start), err)
		}
		if got := p.hears(); !slices.Equal(got, []bool{true, true, true}) {
			t.Errorf("it hears %v", got)
		}
		p.lose(waiter)
		if waiter.isStirred() {
			t.Error("it is to try again after it has")
		}

		// While it cannot subscribe, the pauses grow, and it does not spin.
		p.forget()
		p.fault[1].Set(faulty.On(subscribing, dead))
		p.fault[1].Disconnect()
		time.Sleep(time.Minute)
		if calls := len(p.fault[1].Calls()); calls < 60 || calls > 200 {
			t.Errorf("it tried to subscribe %d times in a minute, want every half second", calls)
		}
		p.fault[1].Set()
		time.Sleep(notify.MaxResubscribe + 1)
		synctest.Wait()
		if got := p.hears(); !slices.Equal(got, []bool{true, true, true}) {
			t.Errorf("in the end it hears %v", got)
		}
		waiter.leave()
	})
}

// Where subscriptions end as soon as they are there, they are not made again all the time,
// and who waits does not try each time that they are.
func TestSubscriptionsThatEndAtOnce(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "foreign", time.Hour)
		}
		p := w.process(full).distant(time.Millisecond)
		passing := func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			return next(ctx, ops)
		}
		p.fault[1].Set(faulty.On(subscribing, passing))
		waiter := p.mustJoin("k")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		tries := 0
		for ctx.Err() == nil {
			tries++
			p.try(waiter)
			waiter.wait(ctx, time.Hour, 0)
		}
		n := 0
		for _, c := range p.fault[1].Calls() {
			if c.Ops[0].Kind == faulty.OpSubscribe {
				n++
			}
		}
		if n < 60 || n > 200 {
			t.Errorf("it subscribed %d times in a minute, want every half second", n)
		}
		if tries > n+60 {
			t.Errorf("it tried %d times in a minute, want once for each of %d subscriptions, and every two seconds", tries, n)
		}

		// One that lasts is made again as soon as the first.
		p.fault[1].Set()
		time.Sleep(2*notify.MaxResubscribe + 1)
		p.fault[1].Disconnect()
		time.Sleep(notify.MinResubscribe + 1)
		synctest.Wait()
		if got := p.hears(); !slices.Equal(got, []bool{true, true, true}) {
			t.Errorf("in the end it hears %v", got)
		}
		waiter.leave()
	})
}

// A deletion that is repeated, as the set may yet arrive, does not call each time who waits
// for nodes that have an owner.
func TestRepeatedDeletionsDoNotCall(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		w.mem[1].Set("k", "foreign", time.Hour)
		w.mem[2].Set("k", "foreign", time.Hour)
		p, q := w.process(full), w.process(full)
		acquires := func(op backend.Op) bool { return word(op) == "set" || word(op) == "acquire" }
		q.fault[0].Set(faulty.On(acquires, broken))
		for _, f := range q.fault[1:] { // otherwise they may refuse before the set is sent, and then it is not
			f.Set(faulty.On(acquires, faulty.Delay(time.Millisecond)))
		}
		waiter := p.mustJoin("k")
		ctx, cancel := context.WithTimeout(context.Background(), ttl)
		defer cancel()
		tries := 0
		for ctx.Err() == nil {
			tries++
			p.lose(waiter)
			if tries == 1 {
				if _, res := q.acquire(context.Background(), nil, "k", w.token(), ttl, timeout); res.Verdict == round.Won {
					t.Fatal(res)
				}
			}
			waiter.wait(ctx, time.Hour, 0)
		}
		if n := len(q.arrived(0)); n < 30 {
			t.Errorf("%d deletions have arrived, want four in a second", n)
		}
		if tries > 10 {
			t.Errorf("the waiter made %d tries, want one for the first deletion, and one every two seconds", tries)
		}
		waiter.leave()
	})
}

// A reconnection during a try makes for another one, also where the try asks a node
// twice.
func TestReconnectDuringATry(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "foreign", time.Hour)
		}
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.set(faulty.Delay(40 * time.Millisecond))
		p.fault[2].Set(faulty.Delay(100 * time.Millisecond))
		time.AfterFunc(50*time.Millisecond, func() {
			p.locals.wakeAll(true)
			p.hear(0, "gk") // it is asked again
		})
		p.forget()
		p.lose(waiter)
		if got := p.arrived(0); len(got) != 2 {
			t.Errorf("the node that called got %q, want two acquires", got)
		}
		if !waiter.isStirred() {
			t.Error("what was missed while the subscription was broken is forgotten")
		}
		waiter.leave()
	})
}

// A node that will have no subscription is told of once, is not asked again, and is
// polled.
func TestSubscriptionRefused(t *testing.T) {
	for _, err := range []error{
		backend.MarkNotExecuted(fmt.Errorf("no: %w", errors.ErrUnsupported)),
		backend.MarkReply(errors.New("NOPERM this user has no permissions")),
	} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.mem[0].Set("k", "foreign", time.Hour)
			p := w.process(full)
			p.set(faulty.On(subscribing, faulty.Refuse(err)))
			for range 3 {
				waiter := p.mustJoin("k")
				p.lose(waiter)
				start := time.Now()
				if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != pollPace {
					t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
				}
				waiter.leave()
				time.Sleep(2 * linger) // another inbox each time
			}
			p.wantSaid(t, "polling", 0, "set t1", "set t2", "set t3")
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(p.polls) != 1 || !strings.HasPrefix(p.polls[0], "n0: ") {
				t.Errorf("it was told %q, want once", p.polls)
			}
		})
	}
}

// Nodes that cannot call need no inbox, and nobody is told.
func TestNoInboxWhereNobodyCalls(t *testing.T) {
	for _, m := range []nodeMake{scripted, bare} {
		inWorldOf(t, 3, m, func(t *testing.T, w *world) {
			p := w.process(m)
			start := time.Now()
			waiter := p.mustJoin("k")
			a := p.win(waiter)
			if took := time.Since(start); took != 0 {
				t.Errorf("the try took %v", took)
			}
			release(a)
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(p.polls) != 0 {
				t.Errorf("it was told %q", p.polls)
			}
		})
	}
}

// The inbox stays open for a moment, for the next who waits, and closes then.
func TestInboxLingers(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		subscriptions := func() int {
			n := 0
			for _, c := range p.fault[0].Calls() {
				if c.Ops[0].Kind == faulty.OpSubscribe {
					n++
				}
			}
			return n
		}
		first := p.ticket()
		if first != "" {
			t.Errorf("there is an inbox, %s, before anybody waits", first)
		}
		for range 3 {
			waiter := p.mustJoin("k")
			release(p.win(waiter))
			time.Sleep(linger - 1)
			if p.ticket() == "" || !p.hears()[0] {
				t.Error("the inbox is closed before its time")
			}
		}
		waiter := p.mustJoin("k")
		a := p.win(waiter) // a holder does not keep it open
		if n := subscriptions(); n != 1 {
			t.Errorf("it subscribed %d times, want once", n)
		}
		first = p.ticket()
		time.Sleep(linger)
		synctest.Wait()
		if p.ticket() != "" || w.mem[0].Publish(first[strings.Index(first, ":")+1:], "g") != 0 {
			t.Error("the inbox is open after its time")
		}
		if p.Contended("k") {
			t.Error("a line is there that nobody can call")
		}
		release(a)
		waiter = p.mustJoin("k")
		if second := p.ticket(); second == first || second == "" {
			t.Errorf("the next inbox has the ticket %q, that before %q", second, first)
		}
		waiter.leave()
		w.empty()
	})
}

// The grace in a ticket is several round trips to the farthest node, in bounds.
func TestGrace(t *testing.T) {
	for _, tc := range []struct {
		trip time.Duration
		want string
	}{
		{2 * time.Millisecond, "20:"}, {10 * time.Millisecond, "40:"}, {100 * time.Millisecond, "400:"}, {400 * time.Millisecond, "1000:"},
	} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			p := w.process(full).distant(2 * time.Millisecond)
			p.fault[2].Set(faulty.Delay(tc.trip))
			for range 100 {
				release(p.mustAcquire("k"))
				time.Sleep(2 * tc.trip)
			}
			waiter := p.mustJoin("k")
			if got := p.ticket(); !strings.HasPrefix(got, tc.want) {
				t.Errorf("with a node %v away the ticket is %q, want a grace of %s", tc.trip, got, tc.want)
			}
			waiter.leave()
		})
	}
}

// Who publishes nonsense wakes nobody, and does no harm.
func TestGarbageInTheInbox(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.mem[0].Set("k", "foreign", time.Hour)
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.forget()
		channel := strings.SplitN(p.ticket(), ":", 2)[1]
		for _, m := range []string{
			"", "x", "xk", "n", "nk", "n:k", "n-5:k", "n99999:k", "n1e3:k", "n 1:k", "n20", "n20k", "n20:other", "\x00", "kg", "G", "Gk",
			strings.Repeat("n9", 1<<12),
		} {
			if w.mem[0].Publish(channel, m) != 1 {
				t.Fatal("nobody listens")
			}
			synctest.Wait()
			p.locals.mu.Lock()
			woken := waiter.stirred || slices.Contains(waiter.notices, true) || !waiter.look.IsZero()
			p.locals.mu.Unlock()
			if woken {
				t.Errorf("%.20q has woken a waiter", m)
			}
		}
		p.wantSaid(t, "garbage", 0)
		// A call that is for nobody is passed on, to nobody here.
		w.mem[0].Publish(channel, "gother")
		w.mem[0].Publish(channel, "g")
		p.wantSaid(t, "a call for another key", 0, "release - ticket", "release - ticket")
		waiter.leave()
	})
}

// Who hears that somebody before him was called looks for himself when that one should have
// come: the grace, two round trips and up to a quarter of the grace later. A holder has no use
// for it.
func TestWarned(t *testing.T) {
	const ms = time.Millisecond
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full).distant(10 * ms)
		a := p.win(p.mustJoin("held"))
		w.mem[0].Set("k", "foreign", time.Hour)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		channel := strings.SplitN(p.ticket(), ":", 2)[1]
		for _, m := range []string{"n20:held", "n100:k", "n0:k", "n1:k", "n50:k"} { // the soonest counts, and no grace is below 20 ms
			if w.mem[0].Publish(channel, m) != 1 {
				t.Fatal("nobody hears it")
			}
		}
		start := time.Now()
		if err := waiter.wait(context.Background(), 0, 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 40*ms || took > 45*ms+10*ms {
			t.Errorf("it looked after %v, want from 40 to 45 ms after it heard", took)
		}
		waiter.leave()
		release(a)
	})
}

// A call that nobody waits for any more is handed to the next process.
func TestCallIsPassedOn(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p, q := w.process(full), w.process(full)
		held := w.process(full).mustAcquire("k")
		first, second := p.mustJoin("k"), q.mustJoin("k")
		p.lose(first)
		time.Sleep(time.Millisecond)
		q.lose(second)
		p.set(faulty.On(deletes, faulty.LoseRequest(nil))) // giving up is lost
		first.leave()
		synctest.Wait()
		p.set()
		if got := w.queued("k"); got[0] != 2 {
			t.Fatalf("%d tickets are queued, want 2", got[0])
		}
		start := time.Now()
		release(held)
		if err := second.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 0 {
			t.Errorf("the second was called after %v, %v", time.Since(start), err)
		}
		release(q.win(second))
		synctest.Wait()
		w.empty()
	})
}

// A call that comes while the holder of the line is on its way to release the lock,
// for a ticket that a late acquire has left on a node which is through with that, is
// passed on as well. So is one of a node that was not asked with the ticket, as its messages
// did not arrive then, for the ticket of an earlier line.
func TestCallDuringARelease(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) { callDuringARelease(t, w, deaf) })
	}
}

func callDuringARelease(t *testing.T, w *world, deaf bool) {
	p := w.process(full)
	if deaf {
		p.fault[2].Set(faulty.On(subscribing, faulty.Delay(400*time.Millisecond)))
	}
	held := w.process(full).mustAcquire("k")
	waiter := p.mustJoin("k")
	p.lose(waiter)
	release(held)
	a := p.win(waiter)
	time.Sleep(200 * time.Millisecond)
	if !p.hears()[2] || (waiter.local.places[2].newest == nil) != deaf {
		t.Fatalf("node 2 is heard: %v; it was asked: %v", p.hears()[2], waiter.local.places[2].newest != nil)
	}
	p.fault[0].Set(faulty.Delay(50 * time.Millisecond))
	p.fault[1].Set(faulty.Delay(50 * time.Millisecond))
	go release(a)
	time.Sleep(time.Millisecond)
	w.empty(2)

	node, queue := w.mem[2], "k{k}:queue"
	ctx := context.Background()
	node.Set("k", "foreign", time.Hour)
	if _, err := node.Eval(ctx, lua.Acquire, []string{"k", queue}, []string{"late", "1000", p.ticket(), "0"}); err != nil {
		t.Fatal(err)
	}
	if got := w.queued("k"); got[2] != 1 {
		t.Fatalf("%v tickets are queued, want one on node 2", got)
	}
	if _, err := node.Eval(ctx, lua.Release, []string{"k", queue}, []string{"foreign"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	w.empty(2)
	time.Sleep(time.Second)
	w.empty()
}

// A node that calls when the lock has been won on others joins it; a holder who
// has unlocked takes no more.
func TestCallJoinsTheHolder(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p, other := w.process(full), w.process(full)
		held := other.mustAcquire("k")
		waiter := p.mustJoin("k")
		p.lose(waiter)
		synctest.Wait() // until the third node has the ticket too
		other.fault[2].Set(faulty.On(deletes, faulty.Delay(50*time.Millisecond)))
		release(held)
		if err := waiter.wait(context.Background(), 0, 0); err != nil {
			t.Fatal(err)
		}
		a := p.win(waiter)
		if n := w.holders("k", a.Token()); n != 2 {
			t.Fatalf("%d nodes hold the lock", n)
		}
		time.Sleep(60 * time.Millisecond)
		synctest.Wait()
		if n := w.holders("k", a.Token()); n != 3 {
			t.Errorf("%d nodes hold the lock, want that which called too", n)
		}
		release(a)
		synctest.Wait()
		a.Join(0)
		synctest.Wait()
		w.empty()
	})
}

// A subscription that breaks and is not back at once, though commands work, leaves nobody
// asleep: whoever counted on it polls until it is back.
func TestSubscriptionStaysAway(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held := w.process(full).mustAcquire("k")
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.set(faulty.On(subscribing, faulty.Refuse(backend.MarkNotExecuted(errors.New("no connection to spare")))))
		p.fault[0].Disconnect()
		start := time.Now()
		if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) > 2*notify.MinResubscribe {
			t.Errorf("it slept for %v, %v, want until the subscription is not back", time.Since(start), err)
		}
		for range 3 {
			p.lose(waiter)
			start = time.Now()
			if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != pollPace {
				t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
			}
		}
		p.set()
		time.Sleep(notify.MaxResubscribe)
		p.lose(waiter)
		if n := w.queued("k")[0]; n != 1 {
			t.Errorf("%d tickets in the queue when the subscription is back, want 1", n)
		}
		release(held)
		if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
			t.Error(err)
		}
		release(p.win(waiter))
	})
}
