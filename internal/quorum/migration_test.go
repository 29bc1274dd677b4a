package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// migratingSlot is what a Cluster does that has the keys of a script on two servers. It
// counts the scripts that are refused.
func migratingSlot(refused *atomic.Int32) faulty.Fault {
	return faulty.On(func(op backend.Op) bool {
		two := op.Kind == backend.OpEval && len(op.Keys) > 1
		if two {
			refused.Add(1)
		}
		return two
	}, faulty.Refuse(backend.MarkReply(errors.New("TRYAGAIN Multiple keys request during rehashing of slot"))))
}

// While a slot is on the move a release goes by the lock's key alone, at once. The waiter
// that slept in the queue is notified when the slot has moved.
func TestReleaseInAMigratingSlot(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorldOf(t, n, full, func(t *testing.T, w *world) {
				var refused atomic.Int32
				holder, p := w.process(full), w.process(full)
				held := holder.mustAcquire("k")
				synctest.Wait()
				waiter := p.mustJoin("k")
				p.lose(waiter)
				holder.forget()
				holder.set(migratingSlot(&refused))
				p.set(migratingSlot(&refused))
				if res := held.release(); res.Verdict != Won {
					t.Errorf("the release: %v", res)
				}
				holder.wantSaid(t, "a release in a migrating slot", 0, "delete t1")
				if left := w.value(0, "k"); left != "" {
					t.Errorf("the lock holds %q after its release", left)
				}
				if err := holder.Wait(context.Background()); err != nil || holder.Cleanups() != 0 {
					t.Errorf("%v: %d cleanups are counted though the lock is free", err, holder.Cleanups())
				}

				start := time.Now()
				time.AfterFunc(time.Second, func() {
					holder.set()
					p.set()
				})
				if err := waiter.Wait(context.Background(), pollPace, 0); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < time.Second || took > time.Second+longestRepeat {
					t.Errorf("the waiter was notified %v after the release, want soon after the migration had ended", took)
				}
				p.win(waiter).release()
				time.Sleep(minGrace) // one node may have notified when the lock was on its way elsewhere
				w.empty()
			})
		})
	}
}

// A release that can notify nobody is repeated for as long as the first of a queue may sleep.
func TestMigrationThatDoesNotEnd(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		var refused atomic.Int32
		p := w.process(full)
		p.set(migratingSlot(&refused))
		p.mustAcquire("k").release()
		time.Sleep(lookAgain + lookAgain/4)
		if n := refused.Swap(0); n < 8 || n > 20 {
			t.Errorf("it was sent %d times, want some 14", n)
		}
		time.Sleep(time.Minute)
		if n := refused.Load(); n > 1 {
			t.Errorf("it was sent %d times after the first of a queue has looked", n)
		}
		if load := p.members[0].sender.Load(); load.Doubts != 0 {
			t.Errorf("left: %+v", load)
		}
	})
}

// A waiter that cannot be queued polls, with the lock's key alone, and is queued again when
// the slot has moved. Other keys do not suffer.
func TestWaitInAMigratingSlot(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held := w.process(full).mustAcquire("k")
		var refused atomic.Int32
		p := w.process(full)
		p.set(migratingSlot(&refused))
		waiter := p.mustJoin("k")
		for range 2 * 3 { // more failed calls in a row than a brake takes
			p.lose(waiter)
			start := time.Now()
			if err := waiter.Wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != pollPace {
				t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
			}
			p.mustAcquire("another").release()
		}
		p.set()
		p.lose(waiter)
		if n := w.queued("k")[0]; n != 1 {
			t.Errorf("%d tickets in the queue after the migration, want 1", n)
		}
		start := time.Now()
		time.AfterFunc(time.Second, func() { held.release() })
		if err := waiter.Wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != time.Second {
			t.Errorf("it waited for %v, %v, want for the notification", time.Since(start), err)
		}
		p.win(waiter).release()
		w.empty()
	})
}

// A waiter that gives up while the slot is on the move leaves no ticket that it could take back.
func TestGivingUpInAMigratingSlot(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held := w.process(full).mustAcquire("k")
		var refused atomic.Int32
		p := w.process(full)
		waiter := p.mustJoin("k")
		p.lose(waiter) // queued
		p.set(migratingSlot(&refused))
		p.lose(waiter) // not queued this time
		p.set()
		waiter.Leave()
		synctest.Wait()
		if n := w.queued("k")[0]; n != 0 {
			t.Errorf("%d tickets in the queue after giving up, want none", n)
		}
		held.release()
		w.empty()
	})
}

// An extension that needs the counter waits for the keys to be together again, for as long
// as its caller does, and for no longer.
func TestExtensionInAMigratingSlot(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		var refused atomic.Int32
		p := w.process(full)
		a := p.mustFence("k")
		p.set(migratingSlot(&refused))
		time.AfterFunc(timeout/2, func() { p.set() })
		start := time.Now()
		if res := a.Extend(context.Background(), ttl, timeout); res.Verdict != Won || time.Since(start) > timeout/2+migrationPause {
			t.Errorf("extended while keys move: %v, after %v", res, time.Since(start))
		}
		p.set(migratingSlot(&refused))
		start = time.Now()
		res := a.Extend(context.Background(), ttl, timeout)
		if took := time.Since(start); res.Verdict != Unavailable || took > timeout || !errors.Is(res.Votes[0].Err, backend.ErrMigrating) {
			t.Errorf("extended in a migration that does not end: %v, after %v", res, took)
		}
		if res := a.release(); res.Verdict != Won {
			t.Errorf("the release: %v", res)
		}
		if left := w.value(0, "k"); left != "" {
			t.Errorf("the lock holds %q after its release", left)
		}
	})
}

func migrates(v Vote) bool { return errors.Is(v.Err, backend.ErrMigrating) }

// A vote waits for the keys to be together, for as long as its caller does, and is sent
// again a few times only.
func TestVoteInAMigratingSlot(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorldOf(t, n, full, func(t *testing.T, w *world) {
				var refused atomic.Int32
				p := w.process(full)
				f, err := p.Fencing("k")
				if err != nil {
					t.Fatal(err)
				}
				acquire := func() (*Attempt, Result) {
					return f.Acquire(context.Background(), w.token(), ttl, timeout)
				}
				p.set(migratingSlot(&refused))
				start := time.Now()
				_, res := acquire()
				if took := time.Since(start); res.Verdict != Unavailable || took > timeout || !slices.ContainsFunc(res.Votes, migrates) {
					t.Errorf("in a migration that does not end: %v, after %v", res, took)
				}
				synctest.Wait()
				if n := int(refused.Load()) / n; n < 2 || n > 8 {
					t.Errorf("it was sent %d times, want a few", n)
				}
				w.empty()
				const ends = timeout / 5
				time.AfterFunc(ends, func() { p.set() })
				start = time.Now()
				a, res := acquire()
				if took := time.Since(start); res.Verdict != Won || took > 2*ends {
					t.Errorf("acquired while keys move: %v, after %v", res, took)
				}
				if a.Fence() == 0 {
					t.Error("no fencing token")
				}
				a.release()
			})
		})
	}
}
