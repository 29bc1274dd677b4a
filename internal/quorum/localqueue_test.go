package quorum

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// Callers of one process come in the order in which they asked, under one ticket.
func TestLineIsFirstComeFirstServed(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorld(t, n, func(t *testing.T, w *world) {
			holder := w.process(full).distant(2 * time.Millisecond)
			p := w.process(w.make).distant(2 * time.Millisecond)
			held := holder.mustAcquire("k")
			var mu sync.Mutex
			var order, want []int
			var all sync.WaitGroup
			for i := range 8 {
				want = append(want, i)
				all.Go(func() {
					a, err := p.lock(t.Context(), "k")
					if err != nil {
						t.Errorf("caller %d: %v", i, err)
						return
					}
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					time.Sleep(5 * time.Millisecond)
					release(a)
				})
				time.Sleep(3 * time.Millisecond)
			}
			for i := range n {
				if got := w.queue(i, "k"); w.make == full && !slices.Equal(got, []string{p.ticket()}) {
					t.Errorf("on node %d wait %q, want the ticket of the process alone", i, got)
				}
			}
			release(held)
			all.Wait()
			if !slices.Equal(order, want) {
				t.Errorf("they came in the order %v", order)
			}
			time.Sleep(time.Second)
			w.empty()
		})
	}
}

// One who waits behind others of the process, and does no longer, sends nothing.
func TestLeaveBehind(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held := w.process(full).mustAcquire("k")
		p := w.process(full)
		first := p.mustJoin("k")
		p.lose(first)
		p.forget()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := p.join(ctx, "k", start, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("behind another: %v after %v, want the end of ctx", err, time.Since(start))
		}
		p.wantSaid(t, "leaving", 0)
		if got := w.queued("k"); got[0] != 1 {
			t.Errorf("%v tickets are queued, want the one of the process", got)
		}
		release(held)
		release(p.win(first))
	})
}

// When the first of a line gives up, the next one takes over its place, on the
// nodes too.
func TestSuccessor(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		held := w.process(full).mustAcquire("k")
		p, later := w.process(full), w.process(full)
		first := p.mustJoin("k")
		p.lose(first)
		time.Sleep(time.Millisecond)
		behind := later.mustJoin("k")
		later.lose(behind)
		var second *waiter
		go func() { second, _ = p.join(context.Background(), "k", time.Now(), nil) }()
		synctest.Wait()
		if second != nil {
			t.Fatal("two are first in a line")
		}
		time.Sleep(time.Second)
		p.forget()
		first.leave()
		first.leave() // a second time does nothing
		synctest.Wait()
		if second == nil {
			t.Fatal("nobody took the place of the first")
		}
		for i := range w.mem {
			p.wantSaid(t, "the first has left", i)
			if got, want := w.queue(i, "k"), []string{p.ticket(), later.ticket()}; !slices.Equal(got, want) {
				t.Errorf("on node %d wait %q, want %q", i, got, want)
			}
		}
		release(held)
		release(p.win(second))
		release(later.win(behind))
		synctest.Wait()
		w.empty()
	})
}

// The last who gives up takes the ticket out of every queue.
func TestLineDissolves(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			held := w.process(full).mustAcquire("k")
			p := w.process(full)
			waiter := p.mustJoin("k")
			p.lose(waiter)
			if !p.Contended("k") {
				t.Error("nobody seems to wait")
			}
			if err := p.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
			waiter.leave()
			if p.Contended("k") {
				t.Error("somebody seems to wait")
			}
			if err := p.Wait(context.Background()); err != nil { // which is a cleanup
				t.Fatal(err)
			}
			for i, left := range w.queued("k") {
				if left != 0 {
					t.Errorf("%d tickets are left on node %d", left, i)
				}
			}
			release(held)
			synctest.Wait()
			w.empty()
		})
	}
}

// A line is there as long as somebody holds what was acquired in it, and a minority
// that did not grant it does not keep the ticket then.
func TestLineOfAHolder(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		w.mem[2].Set("k", "foreign", time.Hour)
		waiter := p.mustJoin("k")
		a := p.win(waiter)
		synctest.Wait()
		if !p.Contended("k") {
			t.Error("the line has gone with its last waiter")
		}
		if got := w.queued("k"); !slices.Equal(got, []int{0, 0, 1}) {
			t.Errorf("tickets are queued %v, want one on the node that refused", got)
		}
		release(a)
		synctest.Wait()
		if p.Contended("k") {
			t.Error("the line is there after the release")
		}
		w.empty(0, 1)
		if got := w.queued("k"); !slices.Equal(got, []int{0, 0, 0}) {
			t.Errorf("tickets are queued %v, want none", got)
		}
	})
}

// Holders who never unlock keep neither lines, when others come, nor what they
// had, when others of their line win.
func TestForgottenHolders(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		lease := func(key string) {
			waiter := p.mustJoin(key)
			if a, res := waiter.acquire(context.Background(), nil, w.token(), 10*time.Millisecond, timeout); res.Verdict != round.Won {
				t.Fatalf("%v: %v", a.Key(), res)
			}
		}
		for i := range 1000 {
			lease(fmt.Sprint("k", i))
			time.Sleep(time.Millisecond)
		}
		p.locals.mu.Lock()
		lines := len(p.locals.byKey)
		p.locals.mu.Unlock()
		if lines > 128 {
			t.Errorf("there are %d lines for the 10 keys that are held", lines)
		}
		for range 1000 {
			lease("k")
			time.Sleep(11 * time.Millisecond)
		}
		p.locals.mu.Lock()
		holders := len(p.locals.byKey["k"].holders)
		p.locals.mu.Unlock()
		if holders > 1 {
			t.Errorf("a line has %d holders, want 1: who wins shows that those before have lost", holders)
		}
		time.Sleep(time.Second)
		w.empty()
	})
}

// Room is made when there is reason to, and nobody's line goes who waits, or holds what is
// not over.
func TestLinesThatStay(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		other, p := w.process(full), w.process(full)
		held := other.mustAcquire("waited for")
		var others []*waiter
		waiter := p.mustJoin("waited for")
		p.lose(waiter)
		holder := p.win(p.mustJoin("held"))
		forgotten := p.mustJoin("forgotten")
		if _, res := forgotten.acquire(context.Background(), nil, w.token(), 10*time.Millisecond, timeout); res.Verdict != round.Won {
			t.Fatal(res)
		}
		time.Sleep(11 * time.Millisecond)
		for i := range 60 {
			others = append(others, p.mustJoin(fmt.Sprint("k", i)))
		}
		if !p.Contended("forgotten") {
			t.Error("a line has gone without a reason")
		}
		others = append(others, p.mustJoin("one more"))
		for key, want := range map[string]bool{"waited for": true, "held": true, "forgotten": false, "k0": true, "one more": true} {
			if got := p.Contended(key); got != want {
				t.Errorf("there is a line for %q: %v, want %v", key, got, want)
			}
		}
		p.locals.mu.Lock()
		if p.locals.sweepAt != 2*63 {
			t.Errorf("the next room is made at %d lines, with 63 of them", p.locals.sweepAt)
		}
		p.locals.mu.Unlock()
		start := time.Now()
		release(held)
		if err := waiter.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 0 {
			t.Errorf("the waiter was called after %v, %v", time.Since(start), err)
		}
		release(p.win(waiter))
		release(holder)
		for _, w := range others {
			w.leave()
		}
	})
}

// A node notifies a holder that has no lock there yet. It takes the node only while its lease
// lasts. If that has ended, by the clock or because it was found lost, the next process is
// notified instead.
func TestJoinWhileTheLeaseLasts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		then  func(p *process, a *attempt.Attempt)
		joins bool
	}{
		{"held", func(*process, *attempt.Attempt) { time.Sleep(ttl - 1) }, true},
		{"ended", func(*process, *attempt.Attempt) { time.Sleep(ttl) }, false},
		{"extended", func(p *process, a *attempt.Attempt) {
			time.Sleep(ttl - time.Second)
			extend(a)
			a.Lasts(p.Config.Clock.Now().Add(ttl))
			time.Sleep(ttl - time.Second)
		}, true},
		{"shorter than the TTL", func(p *process, a *attempt.Attempt) {
			a.Lasts(p.Config.Clock.Now().Add(time.Second))
			time.Sleep(time.Second)
		}, false},
		{"lost", func(p *process, a *attempt.Attempt) {
			a.Lose()
			a.Lose()
			if synctest.Wait(); p.Contended("k") {
				p.w.t.Error("there is a line without waiters and holders")
			}
			if n := p.w.holders("k", a.Token()); n != 2 {
				p.w.t.Errorf("%d nodes hold the token, want 2: only a release deletes it", n)
			}
		}, false},
		{"lost while others wait", func(p *process, a *attempt.Attempt) {
			behind := p.mustJoin("k")
			a.Lose()
			if !p.Contended("k") {
				p.w.t.Error("the line has gone though somebody waits in it")
			}
			behind.leave()
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				w.t = t
				p, q := w.process(full), w.process(full)
				for _, m := range w.mem {
					m.Set("other", "foreign", time.Hour)
				}
				w.mem[2].Set("k", "foreign", time.Hour)
				other := p.mustJoin("other") // keeps the inbox open
				p.lose(other)
				a := p.win(p.mustJoin("k"))
				synctest.Wait()
				next := q.mustJoin("k")
				q.lose(next)
				tc.then(p, a)
				synctest.Wait()
				if _, err := w.mem[2].Eval(t.Context(), lua.Release, []string{"k", "k{k}:queue"}, []string{"foreign"}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				want := "~" + q.ticket()
				if tc.joins {
					want = a.Token()
				}
				if got := w.value(2, "k"); got != want {
					t.Errorf("node 2 holds %q, want %q", got, want)
				}
				next.leave()
				other.leave()
				release(a)
			})
		})
	}
}

// A holder who unlocks when others have come after him takes nothing from them, whether
// they are of his line or of one that came after it.
func TestLateUnlock(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		win := func(life time.Duration) *attempt.Attempt {
			a, res := p.mustJoin("k").acquire(context.Background(), nil, w.token(), life, timeout)
			if res.Verdict != round.Won {
				t.Fatal(res)
			}
			return a
		}
		late := win(10 * time.Millisecond)
		time.Sleep(11 * time.Millisecond)
		a := win(time.Minute)
		expect(t, release(late), "of one whose lease has ended", round.Gone, 0)
		if _, res := p.acquire(context.Background(), nil, "k", w.token(), ttl, timeout); res.Verdict != round.Lost {
			t.Error(res)
		}
		if !p.Contended("k") {
			t.Error("the line of the other holder has gone")
		}
		time.Sleep(linger + 1) // the inbox closes, and the line goes with it
		if p.Contended("k") {
			t.Error("the line is there without an inbox")
		}
		waiter := p.mustJoin("k")
		p.lose(waiter)
		start := time.Now()
		release(a)
		if err := waiter.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 0 {
			t.Errorf("the waiter was called after %v, %v", time.Since(start), err)
		}
		release(p.win(waiter))
		synctest.Wait()
		w.empty()
	})
}

// A holder's release takes out the tickets that one has left who waited behind him.
func TestLeftBehindAHolder(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		w.mem[2].Set("k", "foreign", time.Hour)
		p := w.process(full)
		a := p.win(p.mustJoin("k"))
		second := p.mustJoin("k")
		p.lose(second)
		second.leave()
		synctest.Wait()
		if got := w.queued("k"); got[2] != 1 {
			t.Errorf("tickets are queued %v: the line is still there, and so is its place", got)
		}
		release(a)
		synctest.Wait()
		if got := w.queued("k"); !slices.Equal(got, []int{0, 0, 0}) {
			t.Errorf("tickets are queued %v, want none", got)
		}
		w.empty(0, 1)
	})
}

// A line that has gone leaves the ticket, which it would have had to take out of the queue, to the next
// if that has asked meanwhile.
func TestLateDeletionOfALine(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held := w.process(full).mustAcquire("k")
		p := w.process(full)
		first := p.mustJoin("k")
		synctest.Wait()
		p.fault[0].Set(faulty.First(1, faulty.DelayReply(100*time.Millisecond)))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if _, res := first.acquire(ctx, nil, w.token(), ttl, timeout); res.CtxErr == nil {
			t.Fatal(res)
		}
		first.leave()
		second := p.mustJoin("k")
		p.lose(second)
		time.Sleep(200 * time.Millisecond)
		p.wantSaid(t, "at last", 0, "acquire t2 ticket", "acquire t3 ticket")
		if got := w.queue(0, "k"); !slices.Equal(got, []string{p.ticket()}) {
			t.Errorf("the queue is %q, want the second's ticket", got)
		}
		second.leave()
		release(held)
	})
}

// Close has who waits try again and closes the inbox; the lines of holders go, those of who
// waits stay.
func TestCloseWithLines(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.mem[0].Set("k", "foreign", time.Hour)
		p := w.process(full)
		a := p.win(p.mustJoin("held"))
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.Close()
		if !waiter.isStirred() || p.ticket() != "" || !p.Contended("k") || p.Contended("held") {
			t.Errorf("told to try: %v; the inbox: %q; lines: of the waiter %v, of the holder %v",
				waiter.isStirred(), p.ticket(), p.Contended("k"), p.Contended("held"))
		}
		waiter.leave()
		release(a)
	})
}

// A caller that joins when the group is closed already polls, and opens no inbox.
func TestJoinAfterClose(t *testing.T) {
	for _, opened := range []bool{false, true} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.mem[0].Set("k", "foreign", time.Hour)
			p := w.process(full)
			if opened {
				p.mustJoin("k").leave()
			}
			p.Close()
			waiter := p.mustJoin("k")
			p.lose(waiter)
			start := time.Now()
			if err := waiter.wait(t.Context(), pollPace, 0); err != nil || time.Since(start) != pollPace {
				t.Errorf("it waited for %v, %v, want for the poll, %v", time.Since(start), err, pollPace)
			}
			if p.ticket() != "" {
				t.Error("there is an inbox")
			}
			waiter.leave()
		})
	}
}

// A waiter tries again while Close is under way, at each moment at which it can. It never
// comes out of that counting on the inbox, which is closed, without having been woken.
//
// The moments are those at which Close does not have the mutex. The test makes Close and the
// waiter queue for it: a mutex for which they have waited for more than 1 ms goes from one to
// the other in turn. These are real times, because nobody who waits for a mutex lets virtual
// time pass. If the machine is too busy for that, a round sees less, and fails no more.
func TestCloseDuringAnAttempt(t *testing.T) {
	const pause = 3 * time.Millisecond
	w := newWorld(t, 1, full)
	w.mem[0].Set("k", "foreign", time.Hour)
	for range 20 {
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		mu := &p.locals.mu
		var both sync.WaitGroup
		mu.Lock()
		both.Go(p.Close)
		time.Sleep(pause)
		both.Go(func() { p.lose(waiter) })
		time.Sleep(pause)
		mu.Unlock()
		mu.Lock() // before Close wakes up, and finds that it has waited for too long
		time.Sleep(pause)
		mu.Unlock()
		both.Wait()
		mu.Lock()
		if !waiter.polls && !waiter.stirred {
			t.Error("after Close the waiter counts on being called")
		}
		mu.Unlock()
		waiter.leave()
	}
}

// A node refuses the subscription that it had granted, as after a change of its rules. The
// waiters that count on it look at once, and poll from then on.
func TestSubscriptionRefusedLater(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.mem[0].Set("k", "foreign", time.Hour)
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.set(faulty.On(subscribing, denied))
		p.fault[0].Disconnect()
		for _, most := range []time.Duration{notify.MinResubscribe, pollPace} {
			start := time.Now()
			if err := waiter.wait(t.Context(), pollPace, 0); err != nil || time.Since(start) > most {
				t.Errorf("it waited for %v, %v, want %v at most", time.Since(start), err, most)
			}
			p.lose(waiter)
		}
		waiter.leave()
	})
}

// A message says that somebody else was notified, and has longer to come than any client asks
// for. The waiter looks for itself when the longest grace is over.
func TestWarningOfALongGrace(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full).distant(10 * time.Millisecond)
		w.mem[0].Set("k", "foreign", time.Hour)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		_, channel, _ := strings.Cut(p.ticket(), ":")
		if w.mem[0].Publish(channel, "n60000:k") != 1 {
			t.Fatal("nobody listens")
		}
		start := time.Now()
		if err := waiter.wait(t.Context(), 0, 0); err != nil {
			t.Fatal(err)
		}
		if took, most := time.Since(start), maxGrace+maxGrace/4+30*time.Millisecond; took < maxGrace || took > most {
			t.Errorf("it looked after %v, want from %v to %v", took, maxGrace, most)
		}
		waiter.leave()
	})
}

// Where there is no inbox nobody can be called: a holder needs no line.
func TestLineWithoutAnInbox(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		waiter, err := w.group.join(context.Background(), "k", time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		a, res := waiter.acquire(context.Background(), nil, w.token(), ttl, timeout)
		if res.Verdict != round.Won || w.group.Contended("k") {
			t.Errorf("%v; there is a line: %v", res, w.group.Contended("k"))
		}
		release(a)
	})
}

// A line that comes while the one before for its key is being given up has its
// ticket to itself.
func TestLineFollowsLine(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		holder := w.process(full)
		held := holder.mustAcquire("k")
		p := w.process(full).distant(20 * time.Millisecond)
		first := p.mustJoin("k")
		p.lose(first)
		for range 20 { // give up and come back at every point of the way
			first.leave()
			time.Sleep(time.Millisecond)
			first = p.mustJoin("k")
			p.lose(first)
			if got := w.queued("k"); got[0] != 1 {
				t.Fatalf("%d tickets are queued, want 1", got[0])
			}
		}
		release(held)
		release(p.win(first))
		synctest.Wait()
		w.empty()
	})
}

// A line that goes before it has asked a node leaves the ticket there to the line
// before, which is still on its way to take it out of the queue.
func TestLineThatNeverAsks(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		holder := w.process(full)
		held := holder.mustAcquire("k")
		p := w.process(full).distant(20 * time.Millisecond)
		first := p.mustJoin("k")
		p.lose(first)
		other := make(chan *attempt.Attempt)
		go func() { other <- p.mustAcquire("other") }() // holds up what comes next
		synctest.Wait()
		first.leave()
		second := p.mustJoin("k")
		time.Sleep(time.Second)
		second.leave()
		if err := p.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := w.queued("k"); got[0] != 0 {
			t.Errorf("%d tickets are queued, want none", got[0])
		}
		release(held)
		release(<-other)
		synctest.Wait()
		w.empty()
	})
}

// All callers of one key are cancelled together. Each leaves in constant time, wherever it
// stands in the line, because the mutex is that of all keys.
func TestManyLeaveALine(t *testing.T) {
	g := newWorld(t, 1, full).group
	ls := &g.locals
	took := func(n int) time.Duration {
		first, err := g.join(t.Context(), "k", time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		all := make([]*waiter, n)
		ls.mu.Lock()
		for i := range all {
			all[i] = &waiter{local: first.local, turn: make(chan struct{})}
			first.local.push(all[i])
			ls.waiting++
		}
		ls.mu.Unlock()
		rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
		took := testnodes.Took(func() {
			for _, w := range all {
				w.leave()
			}
		})
		if kept := len(first.local.waiters); kept > 2 {
			t.Errorf("one waits, and there is room for %d", kept)
		}
		first.leave()
		if ls.waiting != 0 || ls.byKey["k"] != nil {
			t.Errorf("%d wait, and there is a line: %v", ls.waiting, ls.byKey["k"] != nil)
		}
		return took
	}
	testnodes.GrowsLinearly(t, took)
}

// Callers join a line and leave it from anywhere. At every moment the one that has waited
// longest competes, and no other.
func TestLeaveFromAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newWorld(t, 1, full).group
		rng := rand.New(rand.NewPCG(1, 2))
		type caller struct {
			first  atomic.Pointer[waiter]
			cancel context.CancelFunc
		}
		leave := func(c *caller) {
			c.cancel()
			synctest.Wait()
			if w := c.first.Load(); w != nil {
				w.leave()
			}
		}
		var line []*caller // in the order in which they came
		for step := range 3000 {
			if len(line) == 0 || rng.IntN(100) < 65-step/100 { // it grows, and then shrinks
				ctx, cancel := context.WithCancel(t.Context())
				c := &caller{cancel: cancel}
				line = append(line, c)
				go func() {
					if w, err := g.join(ctx, "k", time.Now(), nil); err == nil {
						c.first.Store(w)
					}
				}()
			} else {
				i := rng.IntN(len(line))
				c := line[i]
				line = slices.Delete(line, i, i+1)
				leave(c)
			}
			synctest.Wait()
			for i, c := range line {
				if competes := c.first.Load() != nil; competes != (i == 0) {
					t.Fatalf("step %d: of %d callers, number %d competes: %v", step, len(line), i, competes)
				}
			}
			if got := g.locals.waiting; got != len(line) {
				t.Fatalf("step %d: %d wait, want %d", step, got, len(line))
			}
		}
		for _, c := range slices.Backward(line) {
			leave(c)
		}
		if problem := atRest(g); problem != "" {
			t.Error(problem)
		}
	})
}
