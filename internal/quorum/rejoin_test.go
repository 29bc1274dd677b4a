package quorum

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

const reservation = time.Second

// acquires reports whether op is an acquire.
func acquires(op backend.Op) bool { return word(op) == "set" || word(op) == "acquire" }

// A node is asked once per extension, and one that another has keeps what it has.
func TestRejoinRespectsOthers(t *testing.T) {
	for _, foreign := range []string{"another", "~ticket of a waiter"} {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.mem[2].Set("k", foreign, time.Hour)
			for range 5 {
				time.Sleep(ttl / 3)
				mustExtend(t, a, "extend")
			}
			again := "acquire"
			if w.make == bare {
				again = "set"
			}
			if got, want := w.arrived(2), []string{"set", "extend", again, again, again, again, again}; !slices.Equal(got, want) {
				t.Errorf("node 2 got %q, want %q", got, want)
			}
			expect(t, release(a), "release", round.Won, 0)
			synctest.Wait()
			if got := w.value(2, "k"); got != foreign {
				t.Errorf("the foreign key is %q, want %q", got, foreign)
			}
		})
	}
}

// The holder's ticket does not get into the queue of a node that does not grant: it would
// be notified of its own release.
func TestRejoinNamesNoTicket(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		for _, mem := range w.mem {
			mem.Set("k", "before", 20*time.Millisecond)
		}
		waiter := p.mustJoin("k")
		p.lose(waiter)
		time.Sleep(30 * time.Millisecond)
		a := p.win(waiter)
		waiter.leave()
		synctest.Wait()
		w.mem[0].Flush()
		w.mem[0].Set("k", "another", time.Hour)
		mustExtend(t, a, "extend")
		mustExtend(t, a, "extend")
		if got := w.queue(0, "k"); len(got) != 0 {
			t.Errorf("the queue of node 0 is %q, want it empty", got)
		}
		release(a)
		time.Sleep(time.Second)
	})
}

// A grant of a node in quarantine that may come too late is taken back before an
// extension can count it: the quarantine may be over when the node grants.
func TestLateRejoinInQuarantine(t *testing.T) {
	for name, tc := range map[string]struct {
		fault faulty.Fault
		wait  time.Duration
	}{
		"answered too late": {faulty.DelayReply(ttl), ttl + sender.CallTimeout},
		"lost answer":       {faulty.LoseReply(context.DeadlineExceeded), timeout},
	} {
		t.Run(name, func(t *testing.T) {
			inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
				a, res := p.plain("k")
				expect(t, res, "acquire", round.Won, 0)
				synctest.Wait()
				w.mem[2].Flush()
				w.mem[2].Restart()
				p.forget()
				p.fault[2].Set(faulty.On(acquires, faulty.First(1, tc.fault)))
				for start := time.Now(); time.Since(start) <= tc.wait; time.Sleep(ttl / 10) {
					for _, i := range mustExtend(t, a, "extend") {
						if len(p.arrived(2)) < 3 || p.arrived(2)[2] != "delete" {
							t.Errorf("node %d is counted; it got %q, want a deletion first", i, p.arrived(2))
						}
					}
				}
				for _, op := range p.fault[2].Arrived() {
					if word(op) == "delete" && op.Kind != backend.OpEvalDelete {
						t.Errorf("the lock was taken back by a script, which may notify waiters while it is held")
					}
				}
				if got := p.arrived(2); len(got) < 3 || !slices.Equal(got[:3], []string{"extend", "acquire", "delete"}) {
					t.Errorf("node 2 got %q, want an extension, the acquire, and its deletion", got)
				}
				p.fault[2].Clear()
				release(a)
			})
		})
	}
}

// A holder's ticket does not get into a queue with a vote either.
func TestFencedRejoinNamesNoTicket(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		for _, mem := range w.mem {
			mem.Set("k", "before", 20*time.Millisecond)
		}
		f, waiter := p.fencing("k"), p.mustJoin("k")
		waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		time.Sleep(30 * time.Millisecond)
		a, res := waiter.acquire(context.Background(), f, w.token(), ttl, timeout)
		expect(t, res, "acquire", round.Won, 0)
		waiter.leave()
		synctest.Wait()
		w.mem[0].Flush()
		w.mem[0].Set("k", "another", time.Hour)
		mustExtend(t, a, "extend")
		mustExtend(t, a, "extend")
		if got := w.queue(0, "k"); len(got) != 0 {
			t.Errorf("the queue of node 0 is %q, want it empty", got)
		}
		release(a)
		time.Sleep(time.Second)
	})
}

// A node notifies the holder while it is asked to grant the lock again. The rejoin is
// refused, because the lock is reserved, and the holder takes the node by its ticket.
func TestNotificationDuringARejoin(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		for _, mem := range w.mem {
			mem.Set("k", "before", 20*time.Millisecond)
		}
		waiter := p.mustJoin("k")
		p.lose(waiter)
		time.Sleep(30 * time.Millisecond)
		a := p.win(waiter)
		waiter.leave()
		synctest.Wait()
		ticket := p.ticket()
		w.mem[2].Flush()
		w.mem[2].Set("k", "~"+ticket, reservation)
		p.fault[2].Set(faulty.On(acquires, faulty.DelayReply(timeout/5)))
		p.forget()
		mustExtend(t, a, "extend")
		synctest.Wait()
		for range 3 {
			a.Join(2)
		}
		time.Sleep(timeout)
		synctest.Wait()
		if got := p.arrived(2); !slices.Equal(got, []string{"extend", "acquire", "acquire"}) {
			t.Errorf("node 2 got %q", got)
		}
		if n := w.holders("k", a.Token()); n != 3 {
			t.Errorf("%d nodes have the token, want 3", n)
		}
		release(a)
	})
}

// mustExtend extends a lock, waits for whatever follows in the background, and returns
// which nodes were found to have the token again.
func mustExtend(t *testing.T, a *attempt.Attempt, what string) (rejoined []int) {
	t.Helper()
	res := extend(a)
	expect(t, res, what, round.Won, 0)
	synctest.Wait()
	for i, v := range res.Votes {
		if v.Rejoined {
			rejoined = append(rejoined, i)
		}
	}
	return rejoined
}
