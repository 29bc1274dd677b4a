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
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// refuses answers as a node that refuses the lock.
func refuses(r proto.Refusal) faulty.Fault {
	left := r.Left.Milliseconds()
	if r.Left >= proto.Forever {
		left = -1
	}
	return func(_ context.Context, ops []backend.Op, _ faulty.Send) []backend.Result {
		results := make([]backend.Result, len(ops))
		for i := range ops {
			results[i].Reply = backend.Reply{int64(0), left, int64(r.Rank), r.Owner}
		}
		return results
	}
}

// vote returns the vote with that letter of outcomes.
func vote(letter byte) round.Vote {
	for o := round.Pending; o <= round.Quarantined; o++ {
		if o.String()[0] == letter {
			return round.Vote{Outcome: o}
		}
	}
	panic(string(letter) + " is no outcome")
}

// What a waiter does after a try that it lost: how long it sleeps, and whether it
// polls.
func TestPlan(t *testing.T) {
	const ms, s, never = time.Millisecond, time.Second, time.Duration(1) << 62
	in := func(left time.Duration, rank int, owner string) proto.Refusal {
		return proto.Refusal{Left: left, Owner: owner, Rank: rank}
	}
	for _, tc := range []struct {
		name        string
		votes       string // as outcomes writes them
		refusals    []proto.Refusal
		verdict     round.Verdict
		splits      int // before
		polls       bool
		least, most time.Duration
		splitsAfter int
		stirs       int // before
	}{
		// One node.
		{"first in the queue", "T", []proto.Refusal{in(time.Hour, 0, "a")}, round.Lost, 3, false, 1500 * ms, 2500 * ms, 0, 0},
		{"third in the queue", "T", []proto.Refusal{in(time.Hour, 2, "a")}, round.Lost, 0, false, 4500*ms + 40*ms, 7500*ms + 40*ms, 0, 0},
		{"far behind", "T", []proto.Refusal{in(time.Hour, 100, "a")}, round.Lost, 0, false, 22500*ms + 2*s, 37500*ms + 2*s, 0, 0},
		{"the lease ends before", "T", []proto.Refusal{in(100*ms, 0, "a")}, round.Lost, 0, false, 101 * ms, 101 * ms, 0, 0},
		{"the lease ends before, third", "T", []proto.Refusal{in(100*ms, 2, "a")}, round.Lost, 0, false, 141 * ms, 141 * ms, 0, 0},
		{"the lease ends before, with 1500 before it", "T", []proto.Refusal{in(100*ms, 1500, "a")}, round.Lost, 0, false, 30*s + 101*ms, 30*s + 101*ms, 0, 0},
		{"the lease ends before, with a million before it", "T", []proto.Refusal{in(100*ms, 1_000_000, "a")}, round.Lost, 0, false, 15*s + 101*ms, 30*s + 101*ms, 0, 0},
		{"the lease has no end", "T", []proto.Refusal{in(never, 0, "a")}, round.Lost, 0, false, 1500 * ms, 2500 * ms, 0, 0},
		{"not queued", "T", []proto.Refusal{in(100*ms, -1, "a")}, round.Lost, 0, true, 0, never, 0, 0},
		{"failed", "F", []proto.Refusal{{}}, round.Unavailable, 0, true, 0, never, 0, 0},
		{"timed out", "O", []proto.Refusal{{}}, round.Unavailable, 0, true, 0, never, 0, 0},

		// Three nodes. It counts when a quorum is free, and the lowest rank.
		{"one owner", "TTT", []proto.Refusal{in(300*ms, 1, "a"), in(100*ms, 2, "a"), in(200*ms, 3, "a")}, round.Lost, 1, false, 221 * ms, 221 * ms, 0, 0},
		{"one is not queued", "TTT", []proto.Refusal{in(300*ms, -1, "a"), in(100*ms, 0, "a"), in(200*ms, 0, "a")}, round.Lost, 0, false, 201 * ms, 201 * ms, 0, 0},
		{"one is not queued, one failed", "TTF", []proto.Refusal{in(300*ms, -1, "a"), in(100*ms, 0, "a"), {}}, round.Lost, 0, true, 0, never, 0, 0},
		{"one failed, one owner on two", "TTF", []proto.Refusal{in(300*ms, 0, "a"), in(100*ms, 0, "a"), {}}, round.Lost, 0, false, 301 * ms, 301 * ms, 0, 0},
		{"one failed, two owners", "TTF", []proto.Refusal{in(300*ms, 0, "a"), in(100*ms, 0, "b"), {}}, round.Lost, 0, false, 0, 0, 1, 0},
		{"granted one, one owner on two", "GTT", []proto.Refusal{{}, in(300*ms, 0, "a"), in(100*ms, 0, "a")}, round.Lost, 2, false, 101 * ms, 101 * ms, 0, 0},
		{"granted one, two owners", "GTT", []proto.Refusal{{}, in(300*ms, 0, "a"), in(100*ms, 0, "b")}, round.Lost, 0, false, 0, 0, 1, 0},
		{"granted one, two owners, again", "GTT", []proto.Refusal{{}, in(300*ms, 0, "a"), in(100*ms, 0, "b")}, round.Lost, 3, false, 0, 0, 4, 0},
		{"granted one, two owners, often", "GTT", []proto.Refusal{{}, in(3*s, 0, "a"), in(s, 0, "b")}, round.Lost, 40, false, 0, 250 * ms, 41, 0},
		{"granted one, two owners, the leases end before", "GTT", []proto.Refusal{{}, in(300*ms, 0, "a"), in(100*ms, 0, "b")}, round.Lost, 40, false, 0, 101 * ms, 41, 0},
		{"granted one, two owners, one without end", "GTT", []proto.Refusal{{}, in(never, 0, "a"), in(never, 0, "b")}, round.Lost, 7, false, 0, 250 * ms, 8, 0},
		{"granted one, of the others one owner is not known", "GTT", []proto.Refusal{{}, in(300*ms, 0, ""), in(100*ms, 0, "b")}, round.Lost, 0, false, 0, 0, 1, 0},
		{"three owners, nothing granted", "TTT", []proto.Refusal{in(300*ms, 0, "a"), in(100*ms, 0, "b"), in(200*ms, 0, "c")}, round.Lost, 2, false, 201 * ms, 201 * ms, 0, 0},
		{"two failed", "TFF", []proto.Refusal{in(300*ms, 0, "a"), {}, {}}, round.Unavailable, 0, true, 0, never, 0, 0},
		{"two did not answer before ctx ended", "TPP", []proto.Refusal{in(300*ms, 0, "a"), {}, {}}, round.Unavailable, 0, true, 0, never, 0, 0},

		// Two nodes need both.
		{"even, one each", "GT", []proto.Refusal{{}, in(100*ms, 0, "b")}, round.Lost, 0, false, 101 * ms, 101 * ms, 0, 0},
		{"even, one owner", "TT", []proto.Refusal{in(300*ms, 0, "a"), in(100*ms, 0, "a")}, round.Lost, 0, false, 301 * ms, 301 * ms, 0, 0},
		{"even, one queue is enough", "TT", []proto.Refusal{in(300*ms, 0, "a"), in(100*ms, -1, "a")}, round.Lost, 0, false, 301 * ms, 301 * ms, 0, 0},
		{"even, one each, others were called often", "GT", []proto.Refusal{{}, in(100*ms, 0, "b")}, round.Lost, 7, false, 0, 101 * ms, 8, maxNotifies},
		{"even, one failed", "TF", []proto.Refusal{in(300*ms, 0, "a"), {}}, round.Lost, 0, false, 1500 * ms, 2500 * ms, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, len(tc.votes), full, func(t *testing.T, w *world) {
				p := w.process(full)
				waiter := p.mustJoin("k")
				synctest.Wait()
				const trip = time.Millisecond
				p.distant(trip)
				for i := range tc.votes {
					p.fault[i].Set(faulty.Delay(trip/2), faulty.DelayReply(trip/2), faulty.On(runs(lua.Acquire), refuses(tc.refusals[i])))
				}
				a := attempt.New(p.Nodes, "k", "t")
				a.Wait(waiter.local, time.Now(), ttl, timeout)
				if res, _ := a.Compete(t.Context(), waiter, nil, ttl, timeout); outcomes(res.Votes) != strings.Repeat("T", len(tc.votes)) {
					t.Fatal(res)
				}
				p.set()
				res := round.Result{Verdict: tc.verdict}
				for i := range tc.votes {
					res.Votes = append(res.Votes, vote(tc.votes[i]))
				}
				least, most := tc.least, tc.most
				if tc.splitsAfter > 0 {
					least = 1
					if most == 0 {
						most = 2 * trip << tc.splits
					}
				}
				shortest, longest := never, time.Duration(0)
				for range 400 {
					waiter.splits, waiter.stirs = tc.splits, tc.stirs
					waiter.plan(a, res.Verdict, res.Votes)
					if waiter.polls != tc.polls {
						t.Fatalf("polls: %v, want %v", waiter.polls, tc.polls)
					}
					if tc.polls {
						break
					}
					pause := time.Until(waiter.due)
					shortest, longest = min(shortest, pause), max(longest, pause)
				}
				if !tc.polls {
					if shortest < least || longest > most {
						t.Errorf("it pauses for %v to %v, want within %v to %v", shortest, longest, least, most)
					}
					// The pauses are spread over the whole range.
					if spread := most - least; shortest > least+spread/20 || longest < most-spread/20 {
						t.Errorf("it pauses for %v to %v, want spread over %v to %v", shortest, longest, least, most)
					}
					if waiter.splits != tc.splitsAfter {
						t.Errorf("%d split votes are counted, want %d", waiter.splits, tc.splitsAfter)
					}
				}
				waiter.leave()
			})
		})
	}
}

// waiter.wait ends at the first reason to try again.
func TestWaiterWaits(t *testing.T) {
	const ms = time.Millisecond
	type setting struct {
		p *process
		w *waiter
	}
	after := func(d time.Duration, f func(setting)) func(setting) {
		return func(s setting) { time.AfterFunc(d, func() { f(s) }) }
	}
	for _, tc := range []struct {
		name    string
		pause   time.Duration
		polls   bool
		prepare func(setting)
		ctx     time.Duration // its deadline, if not 0
		shortly time.Duration
		after   time.Duration
		jitter  time.Duration // of a "next": a quarter of the grace
		err     error
	}{
		{name: "the pause", pause: 70 * ms, after: 70 * ms},
		{name: "no pause"},
		{name: "the poll", pause: 70 * ms, polls: true, after: 30 * ms},
		{name: "a call", pause: time.Hour, prepare: after(10*ms, func(s setting) { s.p.hear(2, "gk") }), after: 10 * ms},
		{name: "a call, polling", polls: true, prepare: after(10*ms, func(s setting) { s.p.hear(2, "gk") }), after: 10 * ms},
		{name: "a call that came before", pause: time.Hour, prepare: func(s setting) { s.p.hear(1, "gk") }},
		{name: "a call for another key", pause: 70 * ms, prepare: after(10*ms, func(s setting) { s.p.hear(2, "gkk") }), after: 70 * ms},
		{name: "a reconnection", pause: time.Hour, prepare: after(10*ms, func(s setting) { s.p.locals.wakeAll(false) }), after: 10 * ms},
		{name: "next", pause: time.Hour, prepare: after(10*ms, func(s setting) { s.p.hear(0, "n20:k") }), after: 30 * ms, jitter: 5 * ms},
		{name: "next later than the pause", pause: 70 * ms, prepare: after(10*ms, func(s setting) { s.p.hear(0, "n100:k") }), after: 70 * ms},
		{name: "next twice, the sooner counts", pause: time.Hour, prepare: after(10*ms, func(s setting) {
			s.p.hear(0, "n40:k")
			s.p.hear(1, "n20:k")
			s.p.hear(2, "n60:k")
		}), after: 30 * ms, jitter: 5 * ms},
		{name: "next, and then a call", pause: time.Hour, prepare: func(s setting) {
			s.p.hear(0, "n40:k")
			after(10*ms, func(s setting) { s.p.hear(0, "gk") })(s)
		}, after: 10 * ms},
		{name: "a release here, polling", pause: time.Hour, polls: true, prepare: after(10*ms, func(s setting) {
			release(s.p.Adopt("k", "x", ttl))
		}), after: 10 * ms},
		{name: "a release here, queued", pause: 70 * ms, prepare: after(10*ms, func(s setting) {
			release(s.p.Adopt("k", "x", ttl))
		}), after: 70 * ms},
		{name: "a release here of another key", polls: true, prepare: after(10*ms, func(s setting) {
			release(s.p.Adopt("kk", "x", ttl))
		}), after: 30 * ms},
		{name: "ctx ends", pause: time.Hour, ctx: 50 * ms, shortly: 10 * ms, after: 40 * ms}, // for a last try
		{name: "ctx ends later", pause: 30 * ms, ctx: 50 * ms, shortly: 10 * ms, after: 30 * ms},
		{name: "ctx ends shortly", pause: time.Hour, ctx: 9 * ms, shortly: 10 * ms, after: 9 * ms, err: context.DeadlineExceeded},
		{name: "shortly is a millisecond at least", pause: time.Hour, ctx: 50 * ms, after: 49 * ms},
		{name: "cancelled", pause: time.Hour, ctx: -20 * ms, after: 20 * ms, err: context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				p := w.process(full)
				waiter := p.mustJoin("k")
				synctest.Wait()
				waiter.due = time.Now().Add(tc.pause)
				waiter.poll(tc.polls)
				ctx, cancel := context.WithCancel(context.Background())
				switch {
				case tc.ctx > 0:
					ctx, cancel = context.WithTimeout(ctx, tc.ctx)
				case tc.ctx < 0:
					time.AfterFunc(-tc.ctx, cancel)
				}
				defer cancel()
				if tc.prepare != nil {
					tc.prepare(setting{p, waiter})
				}
				start := time.Now()
				err := waiter.wait(ctx, 30*ms, tc.shortly)
				took := time.Since(start)
				if took < tc.after || took > tc.after+tc.jitter+1 || !errors.Is(err, tc.err) {
					t.Errorf("it waited for %v, %v, want for %v, %v", took, err, tc.after, tc.err)
				}
				waiter.leave()
			})
		})
	}
}

// What a node called before it was asked counts no more.
func TestCallBeforeTheTryIsForgotten(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			for i := range n {
				w.mem[i].Set("k", "foreign", 300*time.Millisecond)
			}
			p := w.process(full)
			waiter := p.mustJoin("k")
			synctest.Wait()
			for i := range n {
				p.hear(i, "gk")
				p.hear(i, "n1:k")
			}
			p.lose(waiter)
			start := time.Now()
			if err := waiter.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 301*time.Millisecond {
				t.Errorf("it waited for %v, %v, want until the lease has ended", time.Since(start), err)
			}
			// A call that comes while the node is asked does count.
			p.set(faulty.DelayReply(20 * time.Millisecond))
			for i := range n {
				w.mem[i].Set("k", "foreign", 300*time.Millisecond)
			}
			if n == 1 {
				time.AfterFunc(10*time.Millisecond, func() { p.hear(0, "gk") })
				p.lose(waiter)
				start = time.Now()
				if err := waiter.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 0 {
					t.Errorf("it waited for %v, %v, want not at all", time.Since(start), err)
				}
			}
			waiter.leave()
		})
	}
}

// A holder who vanishes keeps the lock until it expires, and those who wait come
// then, in order and without a crowd.
func TestExpiryOfADeadHolder(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			dead := w.process(full)
			if _, res := dead.acquire(context.Background(), nil, "k", "dead", 400*time.Millisecond, timeout); res.Verdict != round.Won {
				t.Fatal(res)
			}
			synctest.Wait()
			start := time.Now()
			var order []string
			done := make(chan struct{})
			const waiters = 4
			for i := range waiters {
				p := w.process(full).distant(2 * time.Millisecond)
				go func() {
					defer func() { done <- struct{}{} }()
					a, err := p.lock(context.Background(), "k")
					if err != nil {
						t.Error(err)
						return
					}
					w.mu.Lock()
					order = append(order, fmt.Sprint(i))
					w.mu.Unlock()
					if took := time.Since(start); i == 0 && took > 406*time.Millisecond {
						t.Errorf("the first came after %v, want as soon as the lease has ended", took)
					}
					release(a)
				}()
				time.Sleep(5 * time.Millisecond)
			}
			for range waiters {
				<-done
			}
			if !slices.IsSorted(order) {
				t.Errorf("they came in the order %v", order)
			}
			if took := time.Since(start); took > 450*time.Millisecond {
				t.Errorf("all came after %v, want soon after the first", took)
			}
			time.Sleep(time.Second)
			w.empty()
		})
	}
}

// Of a node that is several servers, those count that are in use, and of them the
// farthest.
func TestTripToANodeOfParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := halves{FaultNode: faulty.NewFaultNode(memory.New())}
		g, err := NewGroup([]backend.Node{node}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			key        string
			trip, want time.Duration
		}{{"h", 10 * time.Millisecond, 10 * time.Millisecond}, {"k", 2 * time.Millisecond, 10 * time.Millisecond}} {
			node.Set(faulty.Delay(tc.trip))
			if a, res := g.acquire(t.Context(), nil, tc.key, "t"+tc.key, ttl, timeout); res.Verdict != round.Won {
				t.Error(res)
			} else {
				expect(t, release(a), "release", round.Won, tc.trip) // so that there are two answers
			}
			if got := g.Farthest(); got != tc.want {
				t.Errorf("after %q the node is %v away, want %v", tc.key, got, tc.want)
			}
			time.Sleep(time.Second)
		}
	})
}

// bereave queues tickets of waiters that have died for key on every node, before all others.
func (w *world) bereave(key string, tickets int) {
	w.t.Helper()
	name, _ := proto.QueueKey(key)
	for i, mem := range w.mem {
		ctx, die := context.WithCancel(context.Background())
		alive := make(chan struct{})
		go func() {
			_ = mem.Subscribe(ctx, "dead", backend.Events{Ready: func() { close(alive) }, Message: func(string) {}})
		}()
		<-alive
		for n := range tickets {
			ticket := fmt.Sprintf("%d:dead", n+1)
			r, err := mem.Eval(ctx, lua.Acquire, []string{key, name}, []string{"nobody", "1000", ticket, "3600000"})
			if rank, _ := r.Int(2); err != nil || rank < 0 {
				w.t.Fatalf("node %d does not queue the ticket %s: %v, %v", i, ticket, r, err)
			}
		}
		die()
		synctest.Wait()
	}
}

// However many waiters have died in front of one that lives, it has the lock some round trips
// after the release.
func TestDeadWaitersInFront(t *testing.T) {
	const trip = time.Millisecond
	for _, n := range []int{1, 3, 5} {
		for _, dead := range []int{0, 15, 16, 17, 514, 515, 516, 2000} {
			inWorldOf(t, n, full, func(t *testing.T, w *world) {
				holder := w.process(full).distant(trip)
				live := w.process(full).distant(trip)
				held := holder.mustAcquire("k")
				synctest.Wait()
				w.bereave("k", dead)
				got := make(chan time.Time, 1)
				go func() {
					a, err := live.lock(context.Background(), "k")
					got <- time.Now()
					if err != nil {
						t.Error(err)
						return
					}
					release(a)
				}()
				time.Sleep(time.Second)
				if want := slices.Repeat([]int{dead + 1}, n); !slices.Equal(w.queued("k"), want) {
					t.Errorf("tickets are queued %v, want %v", w.queued("k"), want)
				}
				start := time.Now()
				expect(t, release(held), "the release", round.Won, trip)
				took := (<-got).Sub(start)
				// To release, to go on after each 515, to be notified, and to acquire.
				if most := time.Duration(4+dead/515) * trip; took > most {
					t.Errorf("%d nodes, %d dead: it had the lock %v after the release, want at most %v", n, dead, took, most)
				}
				time.Sleep(time.Second)
				w.empty()
			})
		}
	}
}

// So it is where a waiter that gives up, or rolls back, notifies the next one.
func TestDeadWaitersBehindOneThatGivesUp(t *testing.T) {
	const dead, trip = 1200, time.Millisecond
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		first, live := w.process(full).distant(trip), w.process(full).distant(trip)
		w.mem[0].Set("k", "foreign", time.Minute)
		waiter := first.mustJoin("k")
		first.lose(waiter)
		w.bereave("k", dead)
		got := make(chan time.Time, 1)
		go func() {
			a, err := live.lock(context.Background(), "k")
			got <- time.Now()
			if err != nil {
				t.Error(err)
				return
			}
			release(a)
		}()
		time.Sleep(time.Second)
		if ok, err := w.mem[0].EvalDelete(context.Background(), "k", "foreign"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		start := time.Now()
		waiter.leave()
		if took := (<-got).Sub(start); took > 6*trip {
			t.Errorf("it had the lock %v after the one before it gave up, want some round trips", took)
		}
		if err := first.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		w.empty()
	})
}
