package quorum

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
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
