package quorum

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// lowering is a world in which a process has waited for the lock, and won it without node 2,
// whose queue still has its ticket. Another library has the lock there.
type lowering struct {
	*world
	p    *process
	held *attempt.Attempt
}

// inLowering runs f in that world. before, which may be nil, is called before the process wins.
func inLowering(t *testing.T, before func(p *process), f func(t *testing.T, w *lowering)) {
	t.Helper()
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		other, p := w.process(full).distant(sharedTrip), w.process(full).distant(sharedTrip)
		w.mem[2].Set("k", "foreign", time.Hour)
		first := other.mustAcquire("k")
		waiter := p.mustJoin("k")
		p.lose(waiter)
		if before != nil {
			before(p)
		}
		release(first)
		if err := waiter.wait(context.Background(), 0, 0); err != nil {
			t.Fatal(err)
		}
		l := &lowering{w, p, p.win(waiter)}
		if l.tickets() != 1 {
			t.Fatal("the winner's ticket has left the queue of the node that it does not have")
		}
		f(t, l)
		release(l.held)
		w.mem[2].Set("k", "", time.Millisecond)
		time.Sleep(2 * time.Millisecond)
		w.cleaned(2 * ttl)
		synctest.Wait()
		w.empty()
	})
}

// tickets returns how many waiters are queued on node 2.
func (w *lowering) tickets() int { return len(w.queue(2, "k")) }

func (w *lowering) downgrade() {
	w.t.Helper()
	if res := w.held.Downgrade(context.Background(), ttl, timeout); res.Verdict != round.Won {
		w.t.Fatal("downgrade: ", res)
	}
}

// leaves fails the test unless the ticket has left the queue of node 2 after this time, and does
// not come back. The lock stays extensible, and nothing is left to clean up.
func (w *lowering) leaves(after time.Duration) {
	w.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if n := w.tickets(); n != 0 {
		w.t.Errorf("%d tickets are queued %v after the downgrade, want none", n, after)
	}
	if n := w.p.Cleanups(); n != 0 {
		w.t.Errorf("%d cleanups are under way %v after the downgrade, want none", n, after)
	}
	for range 2 {
		if res := extend(w.held); res.Verdict != round.Won {
			w.t.Error("extend after the downgrade: ", res)
		}
		synctest.Wait()
	}
	if n := w.tickets(); n != 0 {
		w.t.Errorf("%d tickets are queued after an extension, want none", n)
	}
}

// free frees node 2, which then notifies the first waiter in its queue.
func (w *lowering) free() {
	w.t.Helper()
	if _, err := w.mem[2].Eval(context.Background(), lua.Release, []string{"k", "k{k}:queue"}, []string{"foreign"}); err != nil {
		w.t.Fatal(err)
	}
}

// A holder that has waited leaves the queues when it becomes a reader. So readers get the node
// that it did not have, also beside a reader there, and one of them can do without another node.
func TestDowngradeLeavesQueues(t *testing.T) {
	for _, lowers := range []bool{true, false} {
		inLowering(t, nil, func(t *testing.T, w *lowering) {
			if !lowers {
				extend(w.held)
				synctest.Wait()
				if w.tickets() != 1 {
					t.Error("a holder that stays one has left the queue")
				}
				return
			}
			w.p.forget()
			w.downgrade()
			w.leaves(2 * sharedTrip)
			if got := w.p.arrived(2); len(got) == 0 || got[0] != lua.ReleaseShared.Name() {
				t.Errorf("node 2 got %q, want a release in shared mode first: it has no plain fallback", got)
			}
			w.free()
			extend(w.held) // it joins node 2
			synctest.Wait()
			r := w.process(full).distant(sharedTrip)
			r.fault[1].Set(testnodes.Dead)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			begun := time.Now()
			reader, err := r.read(ctx, "k")
			if err != nil {
				t.Fatal("a reader that needs node 2: ", err)
			}
			if took := time.Since(begun); took > 2*sharedTrip {
				t.Errorf("a reader that needs node 2 reads after %v, want %v", took, 2*sharedTrip)
			}
			release(reader)
		})
	}
}

// An acquire with the ticket is under way, or may still arrive, when the holder becomes a reader.
// The ticket leaves the queue after it.
func TestDowngradeDuringAnAcquire(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault faulty.Fault
		after time.Duration
	}{
		{"slow", faulty.Delay(100 * time.Millisecond), 150 * time.Millisecond},
		{"slow answer", faulty.DelayReply(100 * time.Millisecond), 150 * time.Millisecond},
		{"without an answer", faulty.DelayReply(time.Second), 2*ttl + time.Second},
		{"arrives late", testnodes.LateAfterBreak(time.Second), 2*ttl + time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLowering(t, func(p *process) {
				p.fault[2].Set(faulty.On(testnodes.Running(lua.Acquire), tc.fault))
			}, func(t *testing.T, w *lowering) {
				w.downgrade()
				if w.p.Cleanups() == 0 {
					t.Error("the ticket does not count as a cleanup")
				}
				for left := tc.after; left > 0; left -= ttl / 4 {
					time.Sleep(min(left, ttl/4))
					extend(w.held)
				}
				w.leaves(0)
			})
		})
	}
}

// The deletion of the ticket is sent again like any other deletion.
func TestDowngradeLeavesAgain(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"lost request": testnodes.Broken, "lost reply": faulty.LoseReply(nil), "no answer": faulty.LoseRequest(context.DeadlineExceeded),
	} {
		t.Run(name, func(t *testing.T) {
			inLowering(t, nil, func(t *testing.T, w *lowering) {
				w.p.fault[2].Set(fault)
				w.downgrade()
				time.Sleep(time.Second)
				if w.p.Cleanups() != 1 {
					t.Errorf("%d cleanups are under way, want 1", w.p.Cleanups())
				}
				w.p.fault[2].Clear()
				w.leaves(300 * time.Millisecond)
			})
		})
	}
}

// The release follows the downgrade at once, before its deletion of the ticket has arrived.
func TestUnlockAfterDowngrade(t *testing.T) {
	for _, slow := range []bool{false, true} {
		inLowering(t, nil, func(t *testing.T, w *lowering) {
			if slow {
				w.p.fault[2].Set(faulty.Delay(100 * time.Millisecond))
			}
			w.downgrade()
			if res := release(w.held); res.Verdict != round.Won {
				t.Error("release: ", res)
			}
			w.cleaned(time.Second)
			if w.tickets() != 0 {
				t.Error("the ticket is left")
			}
		})
	}
}

// A node has notified the holder, which asks it to join the lock, or is about to, when the holder
// becomes a reader. The ticket does not come back, and the node is not lost to others.
func TestDowngradeDuringAJoin(t *testing.T) {
	for _, late := range []time.Duration{0, sharedTrip / 2, 3 * sharedTrip / 4, sharedTrip, 3 * sharedTrip / 2, 2 * sharedTrip} {
		for _, taken := range []bool{false, true} { // somebody else has node 2 when the join arrives
			inLowering(t, nil, func(t *testing.T, w *lowering) {
				w.free()
				time.Sleep(late)
				if taken {
					w.mem[2].Set("k", "foreign", time.Hour)
				}
				w.downgrade()
				if w.held.Join(2) {
					t.Error("a reader uses a notification for the ticket that it had before")
				}
				w.leaves(4 * sharedTrip)
				if taken {
					return
				}
				reader, err := w.process(full).distant(sharedTrip).read(context.Background(), "k")
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if v := w.value(2, "k"); v != "~shared" {
					t.Errorf("%v after the notification: node 2 has %q, want ~shared", late, v)
				}
				release(reader)
			})
		}
	}
}

// Another caller of the process waits for the lock when the holder becomes a reader. The ticket is
// that caller's, and leaves the queues with it.
func TestDowngradeBesideAWaiter(t *testing.T) {
	inLowering(t, nil, func(t *testing.T, w *lowering) {
		ctx, giveUp := context.WithCancel(context.Background())
		over := make(chan struct{})
		go func() {
			defer close(over)
			if _, err := w.p.lock(ctx, "k"); err == nil {
				t.Error("a writer has the lock beside a reader")
			}
		}()
		time.Sleep(50 * time.Millisecond)
		w.downgrade()
		time.Sleep(50 * time.Millisecond)
		for i := range w.mem {
			if n := len(w.queue(i, "k")); n != 1 {
				t.Errorf("%d tickets on node %d, want that of the caller that waits", n, i)
			}
		}
		giveUp()
		<-over
		w.leaves(4 * sharedTrip)
		for i := range w.mem {
			if n := len(w.queue(i, "k")); n != 0 {
				t.Errorf("%d tickets on node %d after the caller has given up", n, i)
			}
		}
	})
}

// A join waits for a rejoin when the holder becomes a reader. It is refused, and the ticket that it
// has queued leaves the queue after it.
func TestDowngradeBeforeAJoin(t *testing.T) {
	inLowering(t, nil, func(t *testing.T, w *lowering) {
		w.p.fault[2].Set(faulty.DelayReply(timeout / 5))
		extend(w.held) // asks node 2 for a rejoin
		synctest.Wait()
		if !w.held.Join(2) {
			t.Error("a holder does not use a notification")
		}
		w.p.forget()
		w.downgrade()
		w.leaves(timeout)
		if got := w.p.arrived(2); !slices.Contains(got, lua.AcquireShared.Name()) {
			t.Errorf("node 2 got %q, want the join among them", got)
		}
	})
}

// A caller that waited behind the holder has given up before the holder becomes a reader. Its
// ticket is in the queue of every node, and leaves them all.
func TestDowngradeAfterAWaiter(t *testing.T) {
	inLowering(t, nil, func(t *testing.T, w *lowering) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := w.p.lock(ctx, "k"); err == nil {
			t.Fatal("two callers have the lock")
		}
		w.downgrade()
		w.leaves(4 * sharedTrip)
		for i := range w.mem {
			if n := len(w.queue(i, "k")); n != 0 {
				t.Errorf("%d tickets on node %d", n, i)
			}
		}
	})
}
