package attempt

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
)

// extendAll extends attempts together, and returns their results and when each came.
func (w *world) extendAll(renewals ...Renewal) ([]round.Result, []time.Duration) {
	w.t.Helper()
	results, after := make([]round.Result, len(renewals)), make([]time.Duration, len(renewals))
	start := time.Now()
	ExtendAll(renewals, func(i int, r round.Result) {
		if results[i].Verdict != round.Undecided {
			w.t.Errorf("two results of renewal %d", i)
		}
		results[i], after[i] = r, time.Since(start)
	})
	return results, after
}

// Each of many that are extended together has a result of its own: those that won,
// one that is gone, one of another life, one that was released.
func TestExtendAll(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var renewals []Renewal
		for i := range 100 {
			renewals = append(renewals, Renewal{w.mustAcquire(fmt.Sprint("k", i)), ttl + time.Duration(i)*time.Second, timeout})
		}
		for i := range w.mem {
			w.mem[i].Set("k7", "other", time.Hour)
		}
		expect(t, renewals[8].Attempt.release(), "release", round.Won, 0)
		synctest.Wait()
		for i := range w.fault {
			w.fault[i].Set(faulty.Delay(10 * time.Millisecond))
			w.fault[i].Forget()
		}
		results, _ := w.extendAll(renewals...)
		time.Sleep(timeout) // a quorum has answered: node 0 need not be in it
		for i, r := range results {
			want := round.Won
			if i == 7 || i == 8 {
				want = round.Gone
			}
			if r.Verdict != want {
				t.Errorf("renewal %d: %v, want %v", i, r, want)
			}
			if e, _ := w.mem[0].Inspect(context.Background(), fmt.Sprint("k", i)); want == round.Won && e.TTL < renewals[i].TTL-time.Second {
				t.Errorf("k%d lives for %v more, want %v", i, e.TTL, renewals[i].TTL)
			}
		}
		if calls := len(w.fault[0].Calls()); w.make == full && calls > 3 {
			t.Errorf("it took %d calls to extend 100 locks", calls)
		}
	})
}

// Nobody waits for the patience that another has with the nodes.
func TestExtendAllTimesOutEach(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a, b, c := w.mustAcquire("a"), w.mustAcquire("b"), w.mustAcquire("c")
		synctest.Wait()
		for i := range w.fault {
			w.fault[i].Set(faulty.Hang())
		}
		results, after := w.extendAll(
			Renewal{a, ttl, 3 * timeout}, Renewal{b, ttl, timeout}, Renewal{c, ttl, 2 * timeout})
		for i, want := range []time.Duration{3 * timeout, timeout, 2 * timeout} {
			expect(t, results[i], fmt.Sprint("renewal ", i), round.Unavailable, want)
			if after[i] != want {
				t.Errorf("renewal %d ended after %v, want %v", i, after[i], want)
			}
		}
	})
}
