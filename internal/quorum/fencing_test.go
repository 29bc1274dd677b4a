package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// A waiter's rollback puts one up too, and the waiter stands in the queue all the same.
func TestFencingTombstoneOfAWaiter(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		for _, m := range w.mem[1:] {
			m.Set("k", "foreign", time.Minute)
		}
		p.fault[0].Set(faulty.On(votes, faulty.First(1, faulty.LoseReply(io.ErrUnexpectedEOF))))
		waiter := p.mustJoin("k")
		if a, res := waiter.acquire(context.Background(), p.fencing("k"), w.token(), ttl, timeout); res.Verdict != round.Lost {
			t.Fatalf("%v, with the token %d", res, a.Fence())
		}
		synctest.Wait()
		if got := p.arrived(0); !slices.Equal(got, []string{"vote", "vote", "rollback"}) {
			t.Errorf("node 0 got %q", got)
		}
		for i, buried := range []int{1, 0, 0} {
			if got, queued := w.tombstones(i, "k"), w.queue(i, "k"); got != buried || !slices.Equal(queued, []string{p.ticket()}) {
				t.Errorf("node %d has %d tombstones and the queue %q, want %d and the waiter", i, got, queued, buried)
			}
		}
		if v := w.value(0, "k"); v != "" {
			t.Errorf("%q is left on node 0", v)
		}
		waiter.leave()
	})
}

// One who waits votes too, and has a higher token than the one for which it waited.
func TestFencingWaits(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		inFencingWorld(t, n, func(t *testing.T, w *world, p *process) {
			held := w.process(full).mustFence("k")
			waiter := p.mustJoin("k")
			f := p.fencing("k")
			synctest.Wait()
			a, res := waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
			if res.Verdict != round.Lost {
				t.Fatal(res)
			}
			wantFence(t, a, "of a try that lost", 0)
			release(held)
			if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
				t.Fatal(err)
			}
			a, res = waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
			if res.Verdict != round.Won || a.Fence() <= held.Fence() {
				t.Fatalf("%v, with the token %d after %d", res, a.Fence(), held.Fence())
			}
			time.Sleep(time.Second)
			release(a)
			synctest.Wait()
			if i := slices.IndexFunc(p.arrived(0), func(op string) bool { return op != "vote" && op != "delete" }); i >= 0 {
				t.Errorf("node 0 got %q", p.arrived(0))
			}
		})
	}
}

// A node that calls when the lock has been won on the others votes for its token.
func TestFencingJoin(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		holder := w.process(full)
		held := holder.mustFence("k")
		synctest.Wait()
		p := w.process(full)
		waiter := p.mustJoin("k")
		f := p.fencing("k")
		synctest.Wait()
		waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		holder.apart(0, 0, 100*time.Millisecond)
		ahead := time.Now().UnixMicro() + 100000 // which the waiter does not know
		w.count("k", ahead, ahead)
		go release(held)
		if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
			t.Fatal(err)
		}
		a, res := waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		if res.Verdict != round.Won {
			t.Fatal(res)
		}
		fence := int64(a.Fence())
		wantFence(t, a, "on the first two", ahead+1)
		time.Sleep(time.Second)
		if n := w.holders("k", a.Token()); n != 3 {
			t.Errorf("%d nodes hold the lock, want the one too that called later", n)
		}
		if got := w.counters("k"); !slices.Equal(got, []int64{fence, fence, fence}) {
			t.Errorf("the counters are %d, want all at the token, %d", got, fence)
		}
		wantFence(t, a, "after the join", fence)
		expect(t, release(a), "release", round.Won, 0)
	})
}

// What a vote has no use for is not sent, since each key and argument costs the node: the
// queue and the ticket are those of one who waits, the marker is of a quarantine.
func TestFencingSends(t *testing.T) {
	for _, tc := range []struct {
		length       time.Duration // of the quarantine
		alone, waits string
	}{
		{0, "k k{k}:fence k{k}:gone:token, token 10000 hint 0",
			"k k{k}:fence k{k}:gone:token k{k}:queue, token 10000 hint 0 ticket 1000"},
		{quarantine, "k k{k}:fence k{k}:gone:token k marker, token 10000 hint 0 - - 11000",
			"k k{k}:fence k{k}:gone:token k{k}:queue marker, token 10000 hint 0 ticket 1000 11000"},
	} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			p := w.process(full)
			p.Config.Quarantine, p.Config.Marker = tc.length, "marker"
			p.mustMark()
			sent := func(who, want string) {
				t.Helper()
				synctest.Wait()
				i := slices.IndexFunc(p.fault[0].Arrived(), votes)
				if i < 0 {
					t.Fatalf("%s: the node got %q", who, p.arrived(0))
				}
				op := p.fault[0].Arrived()[i]
				args := slices.Clone(op.Args)
				args[0], args[2] = "token", "hint"
				for i, arg := range args {
					switch arg {
					case "":
						args[i] = "-"
					case p.ticket():
						args[i] = "ticket"
					}
				}
				got := strings.ReplaceAll(strings.Join(op.Keys, " "), op.Args[0], "token") + ", " + strings.Join(args, " ")
				if got != want {
					t.Errorf("%s: a vote on %s, want %s", who, got, want)
				}
				p.forget()
			}
			a := p.mustFence("k")
			sent("one who does not wait", tc.alone)
			waiter := p.mustJoin("k")
			p.lose(waiter)
			p.forget()
			time.Sleep(time.Second)
			waiter.acquire(context.Background(), p.fencing("k"), w.token(), ttl, timeout)
			sent("one who waits", tc.waits)
			waiter.leave()
			release(a)
		})
	}
}

// A caller that goes away in the second round has no lock, and one that waits sleeps
// and tries again.
func TestFencingSecondRoundEnds(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high+10, high+20)
		p.set(faulty.On(raises, faulty.Delay(100*time.Millisecond)))
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		a, res := p.acquire(ctx, p.fencing("k"), "k", w.token(), ttl, timeout)
		if res.Verdict == round.Won || !errors.Is(res.CtxErr, context.DeadlineExceeded) || a.Fence() != 0 {
			t.Fatalf("acquire: %v, with the token %d", res, a.Fence())
		}
		time.Sleep(time.Second)

		w.count("k", high+100, high+200, high+300)
		waiter := p.mustJoin("k")
		p.set(faulty.On(raises, faulty.Refuse(nil)))
		f := p.fencing("k")
		if a, res := waiter.acquire(context.Background(), f, w.token(), ttl, timeout); res.Verdict == round.Won || a.Fence() != 0 {
			t.Fatalf("a waiter's try: %v, with the token %d", res, a.Fence())
		}
		p.set()
		if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
			t.Fatal(err)
		}
		a, res = waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		if res.Verdict != round.Won || a.Fence() <= uint64(high+200) {
			t.Fatalf("the waiter's next try: %v, with the token %d", res, a.Fence())
		}
		release(a)
	})
}

// Counters that are ahead of the clocks are passed as soon as a refusal has told of them, if
// the nodes would follow.
func TestFencingSeen(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		now := time.Now().UnixMicro()
		held := w.process(full).mustFence("k")
		synctest.Wait()
		w.count("k", now+100, now+200, now+100)
		waiter := p.mustJoin("k")
		f := p.fencing("k")
		synctest.Wait()
		waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		release(held)
		p.forget()
		a, res := waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		if res.Verdict != round.Won {
			t.Fatal(res)
		}
		wantFence(t, a, "after counters that have parted", now+201)
		if got := p.arrived(0); slices.Contains(got, "raise") {
			t.Errorf("node 0 got %q", got)
		}
		release(a)
	})
}

// fenced makes one try for key, with a fencing token.
func (p *process) fenced(key string) (*attempt.Attempt, round.Result) {
	p.w.t.Helper()
	return p.acquire(context.Background(), p.fencing(key), key, p.w.token(), ttl, timeout)
}

func (p *process) fencing(key string) *attempt.Fencing {
	p.w.t.Helper()
	f, err := p.Fencing(key)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return f
}

// mustFence locks key, which is free, with a fencing token.
func (p *process) mustFence(key string) *attempt.Attempt {
	p.w.t.Helper()
	a, res := p.fenced(key)
	if res.Verdict != round.Won || a.Fence() == 0 {
		p.w.t.Fatalf("acquire: %v, with the fencing token %d", res, a.Fence())
	}
	return a
}

// counters returns where the counters of key stand.
func (w *world) counters(key string) []int64 { return testnodes.Counters(w.mem, key) }

// count sets the counters of key on the nodes.
func (w *world) count(key string, counters ...int64) { testnodes.Count(w.mem, key, counters...) }

// tombstones returns how many tombstones there are for key on node i.
func (w *world) tombstones(i int, key string) int { return testnodes.Tombstones(w.mem[i], key) }

// inFencingWorld runs f with a process on n nodes that can vote.
func inFencingWorld(t *testing.T, n int, f func(t *testing.T, w *world, p *process)) {
	t.Helper()
	for _, m := range []nodeMake{full, scripted} {
		t.Run(fmt.Sprint(m, " ", n), func(t *testing.T) {
			inWorldOf(t, n, m, func(t *testing.T, w *world) { f(t, w, w.process(m)) })
		})
	}
}

// beyondHints is a counter that no hint reaches, so that the next vote is one more.
func beyondHints() int64 { return time.Now().Add(time.Minute).UnixMicro() }

func wantFence(t *testing.T, a *attempt.Attempt, what string, want int64) {
	t.Helper()
	if got := a.Fence(); got != uint64(want) {
		t.Errorf("%s: the token is %d, want %d", what, got, want)
	}
}
