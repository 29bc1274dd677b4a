package quorum

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// longestRepeat is the longest pause before a deletion is repeated: see package sender.
const longestRepeat = 250 * time.Millisecond

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
				holder.set(testnodes.MigratingSlot(&refused))
				p.set(testnodes.MigratingSlot(&refused))
				if res := release(held); res.Verdict != round.Won {
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
				if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < time.Second || took > time.Second+longestRepeat {
					t.Errorf("the waiter was notified %v after the release, want soon after the migration had ended", took)
				}
				release(p.win(waiter))
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
		p.set(testnodes.MigratingSlot(&refused))
		release(p.mustAcquire("k"))
		time.Sleep(attempt.LookAgain + attempt.LookAgain/4)
		if n := refused.Swap(0); n < 8 || n > 20 {
			t.Errorf("it was sent %d times, want some 14", n)
		}
		time.Sleep(time.Minute)
		if n := refused.Load(); n > 1 {
			t.Errorf("it was sent %d times after the first of a queue has looked", n)
		}
		if load := p.Members[0].Sender.Load(); load.Doubts != 0 {
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
		p.set(testnodes.MigratingSlot(&refused))
		waiter := p.mustJoin("k")
		for range 2 * 3 { // more failed calls in a row than a brake takes
			p.lose(waiter)
			start := time.Now()
			if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != pollPace {
				t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
			}
			release(p.mustAcquire("another"))
		}
		p.set()
		p.lose(waiter)
		if n := w.queued("k")[0]; n != 1 {
			t.Errorf("%d tickets in the queue after the migration, want 1", n)
		}
		start := time.Now()
		time.AfterFunc(time.Second, func() { release(held) })
		if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != time.Second {
			t.Errorf("it waited for %v, %v, want for the notification", time.Since(start), err)
		}
		release(p.win(waiter))
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
		p.set(testnodes.MigratingSlot(&refused))
		p.lose(waiter) // not queued this time
		p.set()
		waiter.leave()
		synctest.Wait()
		if n := w.queued("k")[0]; n != 0 {
			t.Errorf("%d tickets in the queue after giving up, want none", n)
		}
		release(held)
		w.empty()
	})
}
