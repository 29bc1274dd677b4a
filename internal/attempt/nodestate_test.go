package attempt

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// A deletion waits for the outcome of the set, however slow that is.
func TestDeleteFollowsTheSet(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, timeout + time.Millisecond, time.Second, sender.CallTimeout - time.Millisecond} {
		t.Run(d.String(), func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				w.fault[2].Set(faulty.On(sets, faulty.Late(d)))
				a := w.mustAcquire("k")
				synctest.Wait() // the set has been sent
				expect(t, a.release(), "release", round.Won, 0)
				w.rest(3 * sender.CallTimeout)
				w.empty()
				calls := w.fault[2].Calls()
				if len(calls) != 2 || calls[1].Start.Before(calls[0].End) || calls[0].End.Sub(calls[0].Start) != d {
					t.Errorf("the calls were %+v", calls)
				}
				if got := w.arrived(2); !slices.Equal(got, []string{"set", "delete"}) {
					t.Errorf("arrived: %q", got)
				}
			})
		})
	}
}

// A set that has not been sent when the attempt is released never is.
func TestUnsentSetIsDropped(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.DelayReply(200 * time.Millisecond))
		var attempts []*Attempt
		for i := range senderBare + 10 {
			attempts = append(attempts, w.mustAcquire(fmt.Sprint("k", i)))
			time.Sleep(senderStagger) // each is a call of its own, as far as may be
		}
		for _, a := range attempts {
			expect(t, a.release(), "release", round.Won, 0)
		}
		w.rest(time.Second)
		w.empty()
		n := 0
		for _, word := range w.arrived(2) {
			if word == "set" {
				n++
			}
		}
		if n < senderDepth || n > senderBare {
			t.Errorf("%d sets were sent to the slow node", n)
		}
	})
}

// A set that times out and arrives later still: it is not sent again, and the
// deletions go on until one finds it.
func TestSetArrivesAfterItsTimeout(t *testing.T) {
	const travel = 4 * time.Second
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.On(sets, faulty.Late(travel)))
		start := time.Now()
		a := w.mustAcquire("k")
		synctest.Wait()
		expect(t, a.release(), "release", round.Won, 0)
		if err := w.group.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < travel || took > travel+longestRepeat {
			t.Errorf("cleaned up after %v", took)
		}
		w.empty()
		got := w.arrived(2)
		if slices.Contains(got, "acquire") || len(slices.DeleteFunc(got, func(s string) bool { return s == "delete" })) != 1 {
			t.Errorf("arrived: %q", w.arrived(2))
		}
	})
}

// A set whose connection broke and that arrives later. Where the node runs no
// scripts it is not sent again.
func TestSetArrivesAfterItsConnectionBroke(t *testing.T) {
	for _, travel := range []time.Duration{time.Millisecond, 40 * time.Millisecond, 3 * time.Second, ttl - time.Second} {
		t.Run(travel.String(), func(t *testing.T) {
			inWorldOf(t, 1, bare, func(t *testing.T, w *world) {
				w.fault[0].Set(faulty.On(sets, lateAfterBreak(travel)))
				start := time.Now()
				_, res := w.acquire("k")
				expect(t, res, "acquire", round.Unavailable, 0)
				if err := w.group.Wait(context.Background()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < travel || took > travel+longestRepeat {
					t.Errorf("cleaned up after %v", took)
				}
				w.empty()
			})
		})
	}
}

// Deletions for a set that never arrives come at growing intervals until no key
// of it can be alive, and are not for ever.
func TestDeletionsEndWithTheTTL(t *testing.T) {
	inWorldOf(t, 1, bare, func(t *testing.T, w *world) {
		w.fault[0].Set(faulty.On(sets, broken))
		start := time.Now()
		w.acquire("k")
		if err := w.group.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < ttl || took > ttl+longestRepeat {
			t.Errorf("cleaned up after %v", took)
		}
		var last time.Time
		var pause time.Duration
		calls := w.fault[0].Calls()[1:]
		for i, c := range calls {
			if i > 0 {
				d := c.Start.Sub(last)
				if d < pause || d > 500*time.Millisecond || d == 0 {
					t.Errorf("deletion %d after %v, the one before after %v", i, d, pause)
				}
				pause = d
			}
			last = c.Start
		}
		if len(calls) < 10 || len(calls) > 60 {
			t.Errorf("%d deletions", len(calls))
		}
	})
}

// A set arrives late while the node cannot be reached to delete it: the
// deletions go on for as long as the key that it made can live, though by then
// more than a TTL has passed.
func TestSetArrivesWhileDeletionsFail(t *testing.T) {
	inWorldOf(t, 1, bare, func(t *testing.T, w *world) {
		w.fault[0].Set(faulty.On(sets, lateAfterBreak(4*time.Second)), faulty.On(deletes, dead))
		w.acquire("k")
		time.Sleep(ttl + time.Second)
		if len(w.mem[0].Keys()) != 1 {
			t.Fatal("the set has not arrived")
		}
		w.fault[0].Clear()
		time.Sleep(longestRepeat)
		synctest.Wait()
		w.empty()
	})
}

// What a deletion found is what was there when it began, however long its reply
// took.
func TestSetArrivesDuringASlowDeletion(t *testing.T) {
	inWorldOf(t, 1, bare, func(t *testing.T, w *world) {
		w.fault[0].Set(faulty.On(sets, lateAfterBreak(ttl-10*time.Millisecond)), faulty.On(deletes, faulty.DelayReply(time.Second)))
		w.acquire("k")
		if err := w.group.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.empty()
	})
}

// An extension makes the key's life longer, and so the time for which a deletion
// is worth trying.
func TestDeletionsLastAsLongAsTheExtension(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		expect(t, a.Extend(context.Background(), 6*ttl, timeout), "extend", round.Won, 0)
		synctest.Wait()
		for _, f := range w.fault {
			f.Set(dead)
		}
		expect(t, a.release(), "release", round.Unavailable, 0)
		time.Sleep(5 * ttl)
		for _, f := range w.fault {
			f.Clear()
		}
		w.rest(time.Second)
		w.empty()
	})
}

// A lock that must have expired is deleted all the same, at once, to learn
// whether it had.
func TestReleaseAfterExpiry(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		time.Sleep(2 * ttl)
		expect(t, a.release(), "release", round.Gone, 0)

		a = w.mustAcquire("k")
		time.Sleep(2 * ttl)
		w.fault[0].Set(dead)
		w.fault[1].Set(faulty.Hang())
		start := time.Now()
		expect(t, a.release(), "release", round.Unavailable, timeout)
		if err := w.group.Wait(context.Background()); err != nil || time.Since(start) > 3*sender.CallTimeout {
			t.Errorf("%v of cleaning up what has expired: %v", time.Since(start), err)
		}
	})
}

// broke is what a round comes to on one node where a connection breaks.
type broke struct {
	what    string
	name    string
	fault   faulty.Fault
	op      func(backend.Op) bool
	times   int
	verdict map[nodeMake]round.Verdict // of the operation
	arrived map[nodeMake][]string
}

// A connection that breaks within the node timeout is answered by sending once
// more what may be sent twice: a lost reply is unknown, never a refusal.
func TestLostRepliesAndStaleConnections(t *testing.T) {
	same := func(v round.Verdict) map[nodeMake]round.Verdict {
		return map[nodeMake]round.Verdict{full: v, scripted: v, bare: v}
	}
	words := func(scripts, bareNode []string) map[nodeMake][]string {
		return map[nodeMake][]string{full: scripts, scripted: scripts, bare: bareNode}
	}
	onlyScripts := map[nodeMake]round.Verdict{full: round.Won, scripted: round.Won, bare: round.Unavailable}
	lost, stale := faulty.LoseReply(io.ErrUnexpectedEOF), broken
	for _, tc := range []broke{
		{"acquire", "set, reply lost", lost, sets, 1, onlyScripts,
			words([]string{"set", "acquire", "extend", "delete"}, []string{"set", "delete"})},
		{"acquire", "set, stale connection", stale, sets, 1, onlyScripts,
			words([]string{"acquire", "extend", "delete"}, nil)},
		{"acquire", "set, reply lost twice", lost, faulty.Kind(backend.OpSetNX, backend.OpEval), 2, same(round.Unavailable),
			words([]string{"set", "acquire", "delete"}, []string{"set", "delete"})},
		{"extend", "extend, reply lost", lost, extends, 1, same(round.Won),
			words([]string{"set", "extend", "extend", "delete"}, []string{"set", "extend", "extend", "delete"})},
		{"extend", "extend, stale connection", stale, extends, 1, same(round.Won),
			words([]string{"set", "extend", "delete"}, []string{"set", "extend", "delete"})},
		{"extend", "extend, reply lost twice", lost, extends, 2, same(round.Unavailable),
			words([]string{"set", "extend", "extend", "delete"}, []string{"set", "extend", "extend", "delete"})},
		{"release", "delete, reply lost", lost, deletes, 1, same(round.Won),
			words([]string{"set", "extend", "delete", "delete"}, []string{"set", "extend", "delete", "delete"})},
		{"release", "delete, stale connection", stale, deletes, 1, same(round.Won),
			words([]string{"set", "extend", "delete"}, []string{"set", "extend", "delete"})},
		{"release", "delete, reply lost twice", lost, deletes, 2, same(round.Unavailable),
			words([]string{"set", "extend", "delete", "delete", "delete"}, []string{"set", "extend", "delete", "delete", "delete"})},
	} {
		for _, m := range makes {
			for _, inline := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/inline=%v", tc.name, m, inline), func(t *testing.T) {
					inWorldOf(t, 1, m, func(t *testing.T, w *world) { tc.show(t, w, m, inline) })
				})
			}
		}
	}
}

func (tc broke) show(t *testing.T, w *world, m nodeMake, inline bool) {
	if inline {
		w.warm()
	}
	w.fault[0].Set(faulty.On(tc.op, faulty.First(tc.times, tc.fault)))
	want := map[string]round.Verdict{"acquire": round.Won, "extend": round.Won, "release": round.Won}
	want[tc.what] = tc.verdict[m]
	a, res := w.acquire("k")
	expect(t, res, "acquire", want["acquire"], 0)
	if res.Verdict == round.Won {
		expect(t, a.extend(), "extend", want["extend"], 0)
		expect(t, a.release(), "release", want["release"], 0)
	}
	time.Sleep(time.Second)
	w.empty()
	if got := w.arrived(0); tc.arrived[m] != nil && !slices.Equal(got, tc.arrived[m]) {
		t.Errorf("arrived: %q, want %q", got, tc.arrived[m])
	}
}

// Sending again does not make the wait longer.
func TestResendKeepsTheTimeout(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		for range 2 { // by the lane, then inline
			a := w.mustAcquireOn("k", faulty.Chain(
				faulty.First(1, faulty.Chain(faulty.Delay(100*time.Millisecond), broken)),
				faulty.First(1, faulty.Hang())))
			expect(t, a.extend(), "extend", round.Unavailable, timeout)
			w.fault[0].Clear()
			time.Sleep(2 * sender.CallTimeout)
			expect(t, a.release(), "release", round.Won, 0)
		}
	})
}

// What timed out is never sent again while its outcome may still come.
func TestNoResendAfterATimeout(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.fault[0].Set(faulty.On(faulty.Kind(backend.OpSetNX, backend.OpExtend), faulty.DelayReply(time.Hour)))
		_, res := w.acquire("k")
		expect(t, res, "acquire", round.Unavailable, timeout)
		w.rest(ttl)
		w.empty()
		if got := w.arrived(0); !slices.Equal(got, []string{"set", "delete"}) {
			t.Errorf("arrived: %q", got)
		}
		w.fault[0].Forget()
		a := w.mustAcquireOn("k", faulty.On(extends, faulty.DelayReply(time.Hour)))
		expect(t, a.extend(), "extend", round.Unavailable, timeout)
		time.Sleep(2 * sender.CallTimeout)
		expect(t, a.release(), "release", round.Won, 0)
		if got := w.arrived(0); !slices.Equal(got, []string{"set", "extend", "delete"}) {
			t.Errorf("arrived: %q", got)
		}
	})
}

// mustAcquireOn acquires without faults and sets fault on all nodes then.
func (w *world) mustAcquireOn(key string, fault faulty.Fault) *Attempt {
	w.t.Helper()
	for _, f := range w.fault {
		f.Clear()
	}
	a := w.mustAcquire(key)
	synctest.Wait()
	for _, f := range w.fault {
		f.Set(fault)
	}
	return a
}

// A set that was sent again as a script is refused, since another came first:
// the first one may still arrive once the other has gone, and is deleted then.
func TestFirstSetArrivesAfterTheSecondWasRefused(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.mem[0].Set("k", "another", ttl)
		w.fault[0].Set(faulty.On(sets, lateAfterBreak(3*time.Second)))
		_, res := w.acquire("k")
		expect(t, res, "acquire", round.Lost, 0)
		time.Sleep(2 * time.Second)
		if ok, err := w.mem[0].EvalDelete(t.Context(), "k", "another"); !ok || err != nil {
			t.Fatalf("the other's release: %v, %v", ok, err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := w.arrived(0); got[len(got)-1] != "set" {
			t.Fatalf("the first set has not arrived: %q", got)
		}
		time.Sleep(longestRepeat)
		w.empty()
	})
}

// A set that was sent again as a script and granted, while the first one is
// still on its way, does no harm as long as the lock is held. What is left if it
// comes after the release is the residue that package redlock admits: one key,
// for one TTL.
func TestFirstSetArrivesAfterTheSecondWasGranted(t *testing.T) {
	for _, travel := range []time.Duration{time.Second, 3 * time.Second} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.fault[0].Set(faulty.On(sets, lateAfterBreak(travel)))
			a := w.mustAcquire("k")
			time.Sleep(2 * time.Second)
			if w.holders("k", a.token) != 1 {
				t.Error("it is not held")
			}
			expect(t, a.release(), "release", round.Won, 0)
			w.rest(time.Second)
			time.Sleep(ttl)
			w.empty()
		})
	}
}

// A release while the set is being sent again: the deletion follows the second.
func TestReleaseDuringResend(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.Delay(50*time.Millisecond), faulty.On(sets, faulty.LoseReply(nil)))
		a := w.mustAcquire("k")
		time.Sleep(60 * time.Millisecond) // the second is on its way, or there is none
		expect(t, a.release(), "release", round.Won, 0)
		w.rest(ttl)
		w.empty()
		if got, want := w.arrived(2), []string{"set", "acquire", "delete"}; w.group.Members[2].Queueing.Scripts && !slices.Equal(got, want) {
			t.Errorf("arrived: %q, want %q", got, want)
		}
	})
}

// A connection that broke when the attempt was released already: nothing is sent
// again but the deletion.
func TestNoResendOfASetThatIsReleased(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.Delay(50*time.Millisecond), faulty.On(sets, faulty.LoseReply(nil)))
		a := w.mustAcquire("k")
		synctest.Wait()
		expect(t, a.release(), "release", round.Won, 0)
		w.rest(ttl)
		w.empty()
		if got := w.arrived(2); !slices.Equal(got, []string{"set", "delete"}) {
			t.Errorf("arrived: %q", got)
		}
	})
}

// A set that may or may not have arrived is found out about by an extension.
func TestExtensionSettlesADoubt(t *testing.T) {
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.On(sets, faulty.LoseReply(nil)))
		a := w.mustAcquire("k")
		synctest.Wait()
		w.fault[0].Set(dead)
		expect(t, a.extend(), "extend", round.Won, 0)
		expect(t, a.release(), "release", round.Won, 0)
		w.fault[0].Clear()
		w.rest(time.Second) // there was no doubt any more
		w.empty()
	})
}
