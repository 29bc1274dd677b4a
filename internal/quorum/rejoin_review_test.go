package quorum

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// rival makes one attempt for key as another process, with a quarantine as p has it.
func (p *process) rival(key string) (*Attempt, Result) {
	q := p.w.process(full)
	q.cfg.Quarantine, q.cfg.Marker = p.cfg.Quarantine, p.cfg.Marker
	return q.plain(key)
}

// The deletion that takes a rejoin back names the token of a lock that is held. If it
// arrives late, after the node has granted the lock once more and an extension has counted
// that, it must not end the lease there.
func TestLateTakeBackLeavesTheLease(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		start := time.Now()
		until := func(at time.Duration) { time.Sleep(time.Until(start.Add(at))) }
		a, res := p.plain("k")
		res.want(t, "acquire", Won, 0)
		synctest.Wait()
		w.mem[2].Flush()
		w.mem[2].Restart()
		// The quarantine of node 2 counts from here.
		p.rival("other")
		until(9 * time.Second)
		// The answer to the rejoin is lost, and the deletion travels for 3 s on a connection
		// that broke; the one that is sent again arrives at once.
		p.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.LoseReply(context.DeadlineExceeded))),
			backendtest.On(deletes, backendtest.First(1, lateAfterBreak(3*time.Second))))
		p.forget()
		a.Extend(context.Background(), 2*time.Second, timeout).want(t, "first extension", Won, 0)
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		a.Extend(context.Background(), time.Second, timeout).want(t, "second extension", Won, 0)
		synctest.Wait()
		t.Logf("node 2 got %q; %d nodes have the token", p.arrived(2), w.holders("k", a.token))
		p.fault[1].Set(dead)
		lease := validity(time.Now(), time.Second)
		if a.Extend(context.Background(), ttl, timeout).Verdict == Won { // without node 1, so it needs node 2
			lease = validity(time.Now(), ttl)
		}
		until(12500 * time.Millisecond)
		if b, res := p.rival("k"); res.Verdict == Won && time.Now().Before(lease) {
			t.Errorf("another has the lock %v before the lease ends; %d nodes have the holder's token",
				time.Until(lease), w.holders("k", a.token))
			b.release()
		}
		p.fault[1].Clear()
		a.release()
	})
}

// A rejoin that has waited at the seat while an extension found the token is not sent. Its
// answer might be lost, and the key, which an extension has counted, be taken back.
func TestRejoinThatIsNotNeededAnyMore(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		start := time.Now()
		lost := backendtest.LoseReply(context.DeadlineExceeded)
		// Node 2 does not get the lock at first, and then does without an answer.
		p.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.LoseRequest(context.DeadlineExceeded))))
		a, res := p.plain("k")
		res.want(t, "acquire", Won, 0)
		time.Sleep(longWait)
		p.fault[2].Set(backendtest.On(acquires, lost))
		a.mustExtend(t, "an extension that does not find the token on node 2")
		if n := w.holders("k", a.token); n != 3 {
			t.Fatalf("%d nodes have the token, want 3", n)
		}
		time.Sleep(time.Until(start.Add(9300 * time.Millisecond)))
		// A short extension that a quorum confirms without node 2, and a long one that needs
		// node 2, at once.
		p.fault[1].Set(backendtest.On(extends, func(ctx context.Context, ops []backend.Op, next backendtest.Send) []backend.Result {
			if ops[0].TTL == time.Second {
				return backendtest.DelayReply(10*time.Millisecond)(ctx, ops, next)
			}
			return dead(ctx, ops, next)
		}))
		p.fault[2].Set(backendtest.On(extends, backendtest.First(1, backendtest.DelayReply(50*time.Millisecond))),
			backendtest.On(acquires, lost))
		short, long := make(chan Result), make(chan Result)
		go func() { short <- a.Extend(context.Background(), time.Second, timeout) }()
		synctest.Wait()
		go func() { long <- a.Extend(context.Background(), ttl, timeout) }()
		lease := validity(time.Now(), ttl)
		(<-short).want(t, "the short extension", Won, 10*time.Millisecond)
		if res := <-long; res.Verdict != Won || outcomes(res.Votes) != "GFG" {
			t.Fatalf("the long extension: %v, want it won by nodes 0 and 2", res)
		}
		time.Sleep(1500 * time.Millisecond)
		if n := w.holders("k", a.token); n != 2 {
			t.Errorf("%d nodes have the token, want the 2 that confirmed the lease", n)
		}
		if _, res := p.rival("k"); res.Verdict == Won {
			t.Errorf("another has the lock %v before the lease ends", time.Until(lease))
		}
		a.release()
	})
}

// The same where the node does not know its own token: it would be taken for absent, and
// left after the release.
func TestRejoinThatIsNotNeededAnyMoreOnABareNode(t *testing.T) {
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		start := time.Now()
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(backendtest.On(sets, backendtest.First(1, backendtest.LoseReply(context.DeadlineExceeded))))
		a.mustExtend(t, "extend")
		time.Sleep(time.Until(start.Add(9850 * time.Millisecond)))
		w.fault[2].Set(backendtest.On(extends, backendtest.DelayReply(200*time.Millisecond)))
		a.mustExtend(t, "an extension that node 2 answers late")
		time.Sleep(timeout)
		synctest.Wait()
		if n := w.holders("k", a.token); n != 3 {
			t.Fatalf("%d nodes have the token, want 3", n)
		}
		w.fault[2].Clear()
		a.release().want(t, "release", Won, 0)
		synctest.Wait()
		w.empty()
	})
}

// A deletion that took a rejoin back, and was not answered, does not explain why the
// release does not find the token.
func TestTakeBackIsNotTheRelease(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		res.want(t, "acquire", Won, 0)
		synctest.Wait()
		w.mem[2].Flush()
		w.mem[2].Restart()
		p.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.LoseReply(context.DeadlineExceeded))),
			backendtest.On(deletes, backendtest.First(1, backendtest.LoseReply(io.EOF))))
		a.mustExtend(t, "extend")
		for range 9 { // until the deletions are over, and the quarantine
			time.Sleep(ttl / 3)
			a.mustExtend(t, "meanwhile")
		}
		if n := w.holders("k", a.token); n != 3 {
			t.Fatalf("%d nodes have the token, want 3", n)
		}
		w.mem[1].Flush()
		w.mem[2].Flush()
		if res := a.release(); res.Verdict != Gone {
			t.Errorf("release: %v, want gone: only one node had the lock", res)
		}
	})
}

// A rejoin of unknown outcome that was repeated with success, and arrives after the release,
// finds a tombstone if the lock has a fencing token.
func TestFencedRejoinThatArrivesAfterTheRelease(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a := p.mustFence("k")
		synctest.Wait()
		w.mem[1].Flush()
		p.fault[1].Set(backendtest.On(func(op backend.Op) bool { return word(op) == "vote" }, backendtest.First(2, lateAfterBreak(ttl/2))))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		a.mustExtend(t, "the next extension")
		time.Sleep(longWait)
		if got := w.holders("k", a.token); got != 3 {
			t.Errorf("%d nodes have the token after the next extension, want 3", got)
		}
		a.release().want(t, "release", Won, 0)
		time.Sleep(ttl/2 + time.Second) // the first has arrived
		if v := w.value(1, "k"); v != "" {
			t.Errorf("node 1 has %q after the release", v)
		}
	})
}

// Extensions that come faster than a node answers leave one rejoin there, not one each.
func TestRejoinsDoNotPileUp(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(backendtest.On(acquires, backendtest.LoseRequest(context.DeadlineExceeded)))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		w.fault[2].Set(backendtest.On(extends, backendtest.DelayReply(time.Second)),
			backendtest.On(acquires, backendtest.DelayReply(time.Second)))
		w.fault[2].Forget()
		for range 500 {
			a.extend().want(t, "extend", Won, 0)
		}
		a.mu.Lock()
		n := len(a.seats[2].queue)
		a.mu.Unlock()
		if n > seatQueue+2 {
			t.Errorf("%d requests wait at the seat", n)
		}
		time.Sleep(3 * time.Second)
		a.release()
		released := time.Now()
		w.rest(time.Hour)
		t.Logf("at rest after %v; node 2 got %d requests", time.Since(released), len(w.arrived(2)))
	})
}

// With an allowance of 10 % for clocks (WithDrift), and a server's clock that is 8 % fast, the
// key that was confirmed 9.5 s before has expired: the quarantine must apply.
func TestRejoinWithAFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		fast := func() time.Time { return start.Add(time.Since(start) * 108 / 100) }
		var mem []*memory.Node
		var fault []*backendtest.FaultNode
		var nodes []backend.Node
		for i := range 3 {
			mem = append(mem, memory.New(memory.WithName(fmt.Sprint("n", i)), memory.WithClock(fast)))
			fault = append(fault, backendtest.NewFaultNode(mem[i]))
			nodes = append(nodes, fault[i])
		}
		group := func() *Group {
			g, err := NewGroup(nodes, Config{Quarantine: quarantine, Marker: "marker",
				Drift: func(ttl time.Duration) time.Duration { return ttl / 10 }})
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		g, rival := group(), group()
		g.Mark(t.Context())
		a, res := g.Acquire(t.Context(), "k", "a", ttl, timeout)
		res.want(t, "acquire", Won, 0)
		fault[2].Set(dead)
		for range 2 {
			time.Sleep(4650 * time.Millisecond)
			a.mustExtend(t, "while node 2 is not reached")
		}
		// The key has expired on node 2, and another gets it there. Then it is lost.
		fault[2].Clear()
		fault[0].Set(backendtest.On(acquires, dead))
		fault[1].Set(backendtest.On(acquires, backendtest.Delay(200*time.Millisecond)))
		b := make(chan *Attempt)
		go func() {
			at, _ := rival.Acquire(t.Context(), "k", "b", ttl, timeout)
			b <- at
		}()
		time.Sleep(100 * time.Millisecond)
		if e, _ := mem[2].Inspect(t.Context(), "k"); e.Value != "b" {
			t.Fatalf("node 2 has %q, want the vote for b", e.Value)
		}
		mem[2].Flush()
		mem[2].Restart()
		rival.Acquire(t.Context(), "other", "c", ttl, timeout)
		a.mustExtend(t, "when node 2 is back")
		if e, _ := mem[2].Inspect(t.Context(), "k"); e.Value != "" {
			t.Errorf("node 2 has granted the lock to %q in its quarantine, and its vote for b may count yet", e.Value)
		}
		a.release()
		(<-b).Abandon()
		time.Sleep(time.Hour)
	})
}

// The time for which the quarantine does not apply counts from before the request, and is as
// short as the validity.
func TestRejoinIsSureForTheValidity(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		res.want(t, "acquire", Won, 0)
		synctest.Wait()
		time.Sleep(time.Second)
		start := time.Now()
		p.fault[2].Set(backendtest.DelayReply(200 * time.Millisecond))
		a.mustExtend(t, "extend")
		time.Sleep(timeout)
		a.mu.Lock()
		got := a.seats[2].rejoin.lasts.Time()
		a.mu.Unlock()
		if want := validity(start, ttl); !got.Equal(want) {
			t.Errorf("it does not apply until %v after the request, want %v", got.Sub(start), want.Sub(start))
		}
		a.release()
	})
}

// An extension that waits for a rejoin that is answered too late does not find what that
// has left: it is taken back first.
func TestTakeBackComesBeforeAnExtension(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		res.want(t, "acquire", Won, 0)
		start := time.Now()
		synctest.Wait()
		for range 2 {
			time.Sleep(ttl / 3)
			p.fault[2].Set(backendtest.On(extends, dead))
			a.mustExtend(t, "while node 2 is not reached")
		}
		p.fault[2].Clear()
		w.mem[2].Flush()
		w.mem[2].Restart()
		time.Sleep(time.Until(start.Add(9500 * time.Millisecond)))
		p.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.DelayReply(700*time.Millisecond))))
		p.forget()
		a.mustExtend(t, "when node 2 is back")
		time.Sleep(600 * time.Millisecond)
		a.mustExtend(t, "an extension that waits for node 2")
		time.Sleep(timeout)
		synctest.Wait()
		if got, want := p.arrived(2), []string{"extend", "acquire", "delete"}; !slices.Equal(got, want) {
			t.Errorf("node 2 got %q, want %q", got, want)
		}
		a.release()
	})
}

// A rejoin whose answer was lost is not counted by a release either, and is told when an
// extension has found it.
func TestRejoinWithoutAnAnswer(t *testing.T) {
	lost := func(w *world) *Attempt {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.LoseReply(context.DeadlineExceeded))))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		return a
	}
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := lost(w)
		w.mem[1].Flush()
		if res := a.release(); res.Verdict != Gone {
			t.Errorf("release: %v, want gone", res)
		}
	})
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := lost(w)
		for i, want := range [][]int{nil, {2}, nil} {
			if got := a.mustExtend(t, "extend"); !slices.Equal(got, want) {
				t.Errorf("extension %d: %v were found to have the token again, want %v", i, got, want)
			}
		}
		a.release()
	})
}

// What an extension has returned does not change when the node begins it later, and the next
// one tells of the rejoin.
func TestRejoinIsNotToldTooLate(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(backendtest.On(acquires, backendtest.DelayReply(timeout/2)))
		a.mustExtend(t, "extend")
		w.fault[1].Set(backendtest.DelayReply(timeout / 4))
		res := a.extend() // decided while the rejoin is under way
		res.want(t, "extend", Won, timeout/4)
		w.fault[1].Clear()
		time.Sleep(timeout)
		synctest.Wait()
		if res.Votes[2].Rejoined {
			t.Error("the votes have changed after the verdict")
		}
		if got := a.mustExtend(t, "extend"); !slices.Equal(got, []int{2}) {
			t.Errorf("%v were found to have the token again, want 2", got)
		}
		a.release()
	})
}

// A rejoin that waits at the seat when an extension finds the lock gone is not sent.
func TestRejoinThatWaitsWhenTheLockIsGone(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(backendtest.On(acquires, backendtest.LoseRequest(context.DeadlineExceeded)))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		w.fault[2].Set(backendtest.On(extends, backendtest.DelayReply(timeout/2)))
		w.fault[2].Forget()
		a.mustExtend(t, "an extension that node 2 answers late")
		w.mem[0].Flush()
		w.mem[1].Flush()
		a.extend().want(t, "the next extension", Gone, 0)
		time.Sleep(timeout)
		synctest.Wait()
		if got := w.arrived(2); slices.Contains(got, "acquire") {
			t.Errorf("node 2 got %q, want no acquire", got)
		}
		a.release()
	})
}

// A holder's ticket does not get into a queue with a vote either.
func TestFencedRejoinNamesNoTicket(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		for _, mem := range w.mem {
			mem.Set("k", "before", 20*time.Millisecond)
		}
		f, waiter := p.fencing("k"), p.mustJoin("k")
		waiter.AcquireFenced(context.Background(), f, w.token(), ttl, timeout)
		time.Sleep(30 * time.Millisecond)
		a, res := waiter.AcquireFenced(context.Background(), f, w.token(), ttl, timeout)
		res.want(t, "acquire", Won, 0)
		waiter.Leave()
		synctest.Wait()
		w.mem[0].Flush()
		w.mem[0].Set("k", "another", time.Hour)
		a.mustExtend(t, "extend")
		a.mustExtend(t, "extend")
		if got := w.queue(0, "k"); len(got) != 0 {
			t.Errorf("the queue of node 0 is %q, want it empty", got)
		}
		a.release()
		time.Sleep(time.Second)
	})
}

// A node that may have granted a rejoin is asked again if an extension has not found the
// token, and not if it could not tell.
func TestRejoinOfUnknownOutcomeIsNotRepeatedBlindly(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.LoseReply(context.DeadlineExceeded))))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		w.fault[2].Set(backendtest.On(extends, denied))
		w.fault[2].Forget()
		a.mustExtend(t, "an extension that node 2 refuses")
		a.mustExtend(t, "another one")
		if got := w.arrived(2); slices.Contains(got, "acquire") {
			t.Errorf("node 2 got %q, want no acquire", got)
		}
		w.fault[2].Clear()
		a.release()
	})
}
