package quorum

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
)

// How long an attempt round keeps its grants, as in package attempt.
const (
	minLinger = 2 * time.Millisecond
	maxLinger = minGrace / 2
)

// apart lets the releases of p reach node i only after delays[i].
func (p *process) apart(delays ...time.Duration) {
	for i, d := range delays {
		p.fault[i].Set(faulty.On(deletes, faulty.Delay(d)))
	}
}

// A release that reaches the nodes at different times: who is called by the first
// keeps what it is granted, and asks the others again when they call.
func TestContestAsksCallersAgain(t *testing.T) {
	const ms = time.Millisecond
	inWorldOf(t, 5, full, func(t *testing.T, w *world) {
		holder := w.process(full)
		held := holder.mustAcquire("k")
		synctest.Wait()
		p := w.process(full).distant(2 * ms)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.forget()
		holder.apart(0, 5*ms, 10*ms, 60*ms, 60*ms)
		start := time.Now()
		go release(held)
		if err := waiter.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 0 {
			t.Fatalf("it was called after %v, %v", time.Since(start), err)
		}
		a := p.win(waiter)
		if took := time.Since(start); took != 12*ms {
			t.Errorf("it won after %v, want a round trip after the release was on three nodes", took)
		}
		for i, want := range [][]string{{"acquire"}, {"acquire", "acquire"}, {"acquire", "acquire"}, {"acquire"}, {"acquire"}} {
			if got := p.arrived(i); !slices.Equal(got, want) {
				t.Errorf("node %d got %q, want %q", i, got, want)
			}
		}
		time.Sleep(100 * ms)
		if n := w.holders("k", a.Token()); n != 5 {
			t.Errorf("%d nodes hold the lock, want those too that called later", n)
		}
		release(a)
		time.Sleep(100 * ms)
		w.empty()
	})
}

// The answer of a node that is asked again is waited for like any other, not for some round
// trips only.
func TestContestAwaitsTheSecondAnswer(t *testing.T) {
	const ms = time.Millisecond
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		holder := w.process(full)
		held := holder.mustAcquire("k")
		synctest.Wait()
		p := w.process(full).distant(ms)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.forget()
		holder.apart(0, 2*ms, 600*ms)
		go release(held)
		start := time.Now()
		time.AfterFunc(3*ms/2, func() { p.fault[1].Set(faulty.DelayReply(50 * ms)) })
		a := p.win(waiter)
		if took := time.Since(start); took < 50*ms || took > 60*ms {
			t.Errorf("it won after %v, want when the second answer had come", took)
		}
		if got := p.arrived(1); !slices.Equal(got, []string{"acquire", "acquire"}) {
			t.Errorf("node 1 got %q", got)
		}
		release(a)
	})
}

// It keeps what it was granted for some round trips only, so that others do not
// miss it, and sleeps then until it is called again.
func TestContestLingers(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct{ trip, linger time.Duration }{{0, minLinger}, {ms, 4 * ms}, {100 * ms, maxLinger}} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			holder := w.process(full)
			held := holder.mustAcquire("k")
			synctest.Wait()
			p := w.process(full)
			if tc.trip > 0 {
				p.distant(tc.trip)
			}
			waiter := p.mustJoin("k")
			p.lose(waiter)
			p.forget()
			holder.apart(0, 300*ms, 600*ms)
			go release(held)
			synctest.Wait()
			start := time.Now()
			p.lose(waiter)
			if took, want := time.Since(start), max(tc.trip, tc.linger); took != want {
				t.Errorf("at %v the try took %v, want %v", tc.trip, took, want)
			}
			time.Sleep(tc.trip)
			synctest.Wait()
			if got := p.arrived(0); !slices.Equal(got, []string{"acquire", "rollback"}) {
				t.Errorf("the node that had called got %q", got)
			}
			if got := w.queued("k"); !slices.Equal(got, []int{1, 1, 1}) {
				t.Errorf("tickets are queued %v, want one on each node", got)
			}
			if err := waiter.wait(context.Background(), 0, 0); err != nil {
				t.Fatal(err)
			}
			release(p.win(waiter))
			if took := time.Since(start); took > 600*ms+2*tc.trip {
				t.Errorf("it won after %v, want as soon as a quorum is free", took)
			}
			time.Sleep(time.Second)
			w.empty()
		})
	}
}

// A split vote ends the contest at once, and what was granted is taken back.
func TestContestSplitVote(t *testing.T) {
	const ms = time.Millisecond
	for _, n := range []int{2, 3, 5} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			p := w.process(full).distant(2 * ms)
			waiter := p.mustJoin("k")
			time.Sleep(time.Second)  // the inbox is open
			for i := 1; i < n; i++ { // nobody can have more than two of five
				w.mem[i].Set("k", []string{"", "a", "a", "b", "b"}[i], 50*ms)
			}
			if n == 3 {
				w.mem[2].Set("k", "b", 50*ms)
			}
			start := time.Now()
			p.lose(waiter)
			if n > 2 && time.Since(start) != 2*ms {
				t.Errorf("%d nodes: it took %v, want a round trip", n, time.Since(start))
			}
			synctest.Wait()
			time.Sleep(2 * ms)
			if v := w.value(0, "k"); v != "" {
				t.Errorf("%d nodes: %q is left of what was granted", n, v)
			}
			for {
				if err := waiter.wait(context.Background(), 0, 0); err != nil {
					t.Fatal(err)
				}
				if a, res := p.try(waiter); res.Verdict == round.Won {
					release(a)
					break
				}
			}
			if took := time.Since(start); took > 50*ms+ms+2*maxLinger+2*4*ms {
				t.Errorf("%d nodes: it won after %v", n, took)
			}
			time.Sleep(time.Second)
			w.empty()
		})
	}
}

// Who splits the vote with owners that have died does not ask all the time until their
// leases end.
func TestSplitVoteOfTheDead(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full).distant(100 * time.Microsecond)
		waiter := p.mustJoin("k")
		time.Sleep(time.Second) // the inbox is open
		w.mem[1].Set("k", "a", 10*time.Second)
		w.mem[2].Set("k", "b", 10*time.Second)
		start, tries := time.Now(), 0
		for {
			tries++
			a, res := p.try(waiter)
			if res.Verdict == round.Won {
				release(a)
				break
			}
			if err := waiter.wait(context.Background(), 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 10*time.Second+10*time.Millisecond || tries > 150 {
			t.Errorf("it won after %v and %d tries, want it when the leases end, and some 90 tries", took, tries)
		}
		time.Sleep(time.Second)
		w.empty()
	})
}

// Losers who are granted so much that others may have seen them as the owner call these
// when they take it back, but not back and forth for as long as the owner stays.
func TestLosersDoNotCallBackAndForth(t *testing.T) {
	const waiters, seconds = 3, 10
	for _, tc := range []struct {
		nodes string // one that is free, has an owner, or cannot be reached
		most  int    // tries of a waiter in a second, on average
	}{
		{"F0D", 10}, {"F00D1", 10}, {"FF01D", 10}, {"F0", 10}, {"FF00", 10}, {"DF", 22}, {"FDD", 22},
	} {
		inWorldOf(t, len(tc.nodes), full, func(t *testing.T, w *world) {
			for range waiters {
				w.process(full).distant(100 * time.Microsecond)
			}
			for i, c := range tc.nodes {
				switch c {
				case 'F':
				case 'D':
					for _, p := range w.processes {
						p.fault[i].Set(dead)
					}
				default:
					w.mem[i].Set("k", string(c), time.Hour)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), seconds*time.Second)
			defer cancel()
			done := make(chan int)
			for _, p := range w.processes {
				go func() {
					waiter := p.mustJoin("k")
					defer waiter.leave()
					tries := 0
					for ctx.Err() == nil {
						tries++
						if a, res := waiter.acquire(ctx, nil, w.token(), ttl, timeout); res.Verdict == round.Won {
							t.Errorf("%s: it has won", tc.nodes)
							release(a)
						}
						waiter.wait(ctx, 125*time.Millisecond, 0)
					}
					done <- tries
				}()
			}
			for range waiters {
				if tries := <-done; tries > tc.most*seconds+40 {
					t.Errorf("%s: a waiter made %d tries in %d s, want %d a second", tc.nodes, tries, seconds, tc.most)
				}
			}
			time.Sleep(time.Second)
			if got := w.queued("k"); slices.Max(got) > 0 {
				t.Errorf("%s: tickets are left, %v", tc.nodes, got)
			}
		})
	}
}

// Losers of a split vote on an even number of nodes do not both sleep on a free
// lock.
func TestSplitVoteOfTwo(t *testing.T) {
	const ms = time.Millisecond
	for _, n := range []int{2, 4} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			p, q := w.process(full).distant(2*ms), w.process(full).distant(2*ms)
			for i := range n { // each of them is nearer to half of the nodes
				far, near := p, q
				if i < n/2 {
					far, near = q, p
				}
				near.fault[i].Set(faulty.Delay(ms/2), faulty.DelayReply(ms/2))
				far.fault[i].Set(faulty.Delay(2*ms), faulty.DelayReply(2*ms))
			}
			for i := range 20 {
				start := time.Now()
				done := make(chan struct{})
				for _, p := range []*process{p, q} {
					go func() {
						defer func() { done <- struct{}{} }()
						waiter := p.mustJoin("k")
						defer waiter.leave()
						for {
							if a, res := p.try(waiter); res.Verdict == round.Won {
								release(a)
								return
							}
							if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
								t.Error(err)
								return
							}
						}
					}()
				}
				<-done
				<-done
				if took := time.Since(start); took > 500*ms {
					t.Errorf("%d nodes, round %d: both had it after %v, want no sleep on a free lock", n, i, took)
				}
				time.Sleep(100 * ms)
			}
			w.empty()
		})
	}
}

// A minority that hangs costs who wins nothing, and who loses a node timeout until
// the node is known to hang.
func TestContestWithAHungMinority(t *testing.T) {
	const ms = time.Millisecond
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		holder := w.process(full)
		held := holder.mustAcquire("k")
		p := w.process(full).distant(2 * ms)
		waiter := p.mustJoin("k")
		p.lose(waiter)
		p.fault[2].Set(faulty.Hang())
		for _, want := range []time.Duration{timeout, 2 * ms, 2 * ms} {
			start := time.Now()
			_, res := p.try(waiter)
			if res.Verdict != round.Lost || time.Since(start) != want {
				t.Errorf("%v after %v, want lost after %v", res, time.Since(start), want)
			}
			time.Sleep(ms)
		}
		start := time.Now()
		release(held)
		if err := waiter.wait(context.Background(), 0, 0); err != nil || time.Since(start) != 0 {
			t.Errorf("it was called after %v, %v", time.Since(start), err)
		}
		a := p.win(waiter)
		if took := time.Since(start); took != 2*ms {
			t.Errorf("it won after %v, want a round trip", took)
		}
		if res := release(a); res.Verdict != round.Won || res.Elapsed != 2*ms {
			t.Errorf("the release: %v", res)
		}
	})
}

// A ctx that ends cuts a contest off, and nothing stays of it.
func TestContestCutOff(t *testing.T) {
	const ms = time.Millisecond
	for _, n := range []int{2, 3, 5} {
		for cut := range 10 {
			inWorldOf(t, n, full, func(t *testing.T, w *world) {
				holder := w.process(full)
				held := holder.mustAcquire("k")
				synctest.Wait()
				p := w.process(full).distant(4 * ms)
				waiter := p.mustJoin("k")
				p.lose(waiter)
				holder.apart([]time.Duration{0, 40 * ms, 40 * ms, 40 * ms, 40 * ms}[:n]...)
				go release(held)
				synctest.Wait()
				ctx, cancel := context.WithCancel(context.Background())
				d := time.Duration(cut)*ms + ms/2
				time.AfterFunc(d, cancel)
				start := time.Now()
				_, res := waiter.acquire(ctx, nil, w.token(), ttl, timeout)
				if n%2 == 0 && res.Verdict == round.Lost && res.CtxErr == nil {
					// Of an even number, it may have let go before.
				} else if res.Verdict == round.Won || res.Verdict == round.Undecided || !errors.Is(res.CtxErr, context.Canceled) || time.Since(start) != d {
					t.Errorf("%d nodes: %v after %v, want to be cut off after %v", n, res, time.Since(start), d)
				}
				waiter.leave()
				cancel()
				time.Sleep(100 * ms)
				w.empty()
			})
		}
	}
}

// Nodes that answer after the win join it.
func TestContestLateGrantsJoin(t *testing.T) {
	const ms = time.Millisecond
	inWorldOf(t, 5, full, func(t *testing.T, w *world) {
		p := w.process(full)
		p.fault[3].Set(faulty.DelayReply(50 * ms))
		p.fault[4].Set(faulty.Delay(100 * ms))
		waiter := p.mustJoin("k")
		waiter.local.group.locals.inbox.Await(context.Background(), time.Second)
		start := time.Now()
		a := p.win(waiter)
		if took := time.Since(start); took > 100*ms { // subscribing takes as long
			t.Errorf("it won after %v", took)
		}
		time.Sleep(200 * ms)
		if n := w.holders("k", a.Token()); n != 5 {
			t.Errorf("%d nodes hold the lock", n)
		}
		if res := extend(a); outcomes(res.Votes)[:3] != "GGG" {
			t.Errorf("an extension: %v", res)
		}
		time.Sleep(200 * ms)
		if res := release(a); res.Verdict != round.Won {
			t.Errorf("the release: %v", res)
		}
		time.Sleep(time.Second)
		w.empty()
	})
}

// Nodes that cannot be reached decide at once.
func TestContestUnavailable(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		waiter := p.mustJoin("k")
		synctest.Wait()
		p.fault[0].Set(dead)
		p.fault[1].Set(dead)
		_, res := p.try(waiter)
		expect(t, res, "without a majority", round.Unavailable, 0)
		start := time.Now()
		if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != pollPace {
			t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
		}
		p.set()
		release(p.win(waiter))
	})
}
