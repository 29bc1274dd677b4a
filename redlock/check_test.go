package redlock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// outcomes counts the outcomes in a report.
func outcomes(r Report) map[Outcome]int {
	n := make(map[Outcome]int)
	for _, node := range r {
		n[node.Outcome]++
	}
	return n
}

// Check asks each node once and changes nothing.
func TestCheck(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		onRig(t, n, false, func(t *testing.T, r *rig) {
			lock := r.lock(r.locker(), "k")
			synctest.Wait()
			until := lock.Until()
			time.Sleep(time.Second)
			before := r.calls()
			report, err := lock.Check(t.Context())
			synctest.Wait()
			if err != nil || report.Count(Granted) < r.need() || !lock.Until().Equal(until) {
				t.Errorf("%v, %v, valid until %v", report, err, lock.Until())
			}
			if calls := r.calls() - before; calls != n {
				t.Errorf("%d calls, want one per node, %d", calls, n)
			}
			for _, m := range r.mem {
				if e, _ := m.Inspect(t.Context(), "k"); e.TTL != DefaultTTL-time.Second {
					t.Errorf("a node holds the lock for another %v", e.TTL)
				}
			}

			// A minority does not matter: it may lose the lock, hold another's, or not answer.
			for what, lose := range map[string]func(i int){
				"deleted": func(i int) { _, _ = r.mem[i].EvalDelete(t.Context(), "k", lock.Token()) },
				"foreign": func(i int) { r.mem[i].Set("k", "theirs", time.Hour) },
				"fails":   func(i int) { r.set(i, i+1, faulty.Refuse(nil)) },
				"hangs":   func(i int) { r.set(i, i+1, faulty.Hang()) },
			} {
				for i := range r.minority() {
					lose(i)
				}
				start := time.Now()
				if report, err := lock.Check(t.Context()); err != nil || report.Count(Granted) != r.need() {
					t.Errorf("%s on a minority: %v, %v", what, report, err)
				}
				took(t, start, 0, 0)
				r.clear()
			}
			if lock.Err() != nil {
				t.Error(lock.Err())
			}
		})
	}
}

// If so many nodes have lost the lock that no quorum is left, Check ends the lock.
func TestCheckLost(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		for what, outcome := range map[string]Outcome{"deleted": NotHeld, "foreign": Taken} {
			onRig(t, n, false, func(t *testing.T, r *rig) {
				lost := 0
				l := r.locker(WithHooks(Hooks{Lost: func(context.Context, Event) { lost++ }}))
				lock := r.lock(l, "k")
				synctest.Wait()
				ctx := lock.Context(t.Context())
				for i := range r.minority() + 1 {
					if _, _ = r.mem[i].EvalDelete(t.Context(), "k", lock.Token()); outcome == Taken {
						r.mem[i].Set("k", "theirs", time.Hour)
					}
				}
				report, err := lock.Check(t.Context())
				matches(t, err, ErrNotHeld)
				if e := new(QuorumError); !errors.As(err, &e) || e.Op != "check" || report.Count(outcome) != r.minority()+1 {
					t.Errorf("%s on %d nodes: %v, %v", what, n, report, err)
				}
				if context.Cause(ctx) != err || lock.Err() != err || lost != 1 {
					t.Errorf("%s: the cause is %v, the hook ran %d times", what, context.Cause(ctx), lost)
				}
				before := r.calls()
				report, err = lock.Check(t.Context())
				matches(t, err, ErrNotHeld)
				if report != nil || r.calls() != before {
					t.Errorf("a second Check: %v", report)
				}
			})
		}
	}
}

// Too few answers prove nothing, and leave the lock as it was.
func TestCheckUnavailable(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		for what, tc := range map[string]struct {
			fault faulty.Fault
			want  Outcome
			took  time.Duration
		}{
			"fails": {faulty.Refuse(nil), Failed, 0},
			"hangs": {faulty.Hang(), TimedOut, DefaultNodeTimeout},
		} {
			onRig(t, n, false, func(t *testing.T, r *rig) {
				lock := r.lock(r.locker(), "k")
				synctest.Wait()
				r.set(0, r.minority()+1, tc.fault)
				start := time.Now()
				report, err := lock.Check(t.Context())
				matches(t, err, ErrUnavailable)
				took(t, start, tc.took, tc.took)
				if report.Count(tc.want) != r.minority()+1 || lock.Err() != nil {
					t.Errorf("%s: %v, the lock has ended: %v", what, outcomes(report), lock.Err())
				}
				r.clear()
				if _, err := lock.Check(t.Context()); err != nil {
					t.Errorf("after the node %s: %v", what, err)
				}
			})
		}
	}
	onRig(t, 3, true, func(t *testing.T, r *rig) { // nodes that cannot be asked
		_, err := r.lock(r.locker(), "k").Check(t.Context())
		matches(t, err, ErrUnavailable)
	})
}

// A ctx that ends bounds the call. No node is asked about a lock that has ended, or whose
// validity is over.
func TestCheckEnds(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		r.setAll(faulty.Hang())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		report, err := lock.Check(ctx)
		took(t, start, 10*time.Millisecond, 10*time.Millisecond)
		matches(t, err, ErrUnavailable, context.DeadlineExceeded)
		if report.Count(Pending) != 3 || report[0].Latency != 10*time.Millisecond || lock.Err() != nil {
			t.Errorf("%v, %v", report, lock.Err())
		}
		_, err = lock.Check(ctx)
		matches(t, err, context.DeadlineExceeded)
		differs(t, err, ErrUnavailable)
		r.clear()
		_ = lock.Unlock(t.Context())
		synctest.Wait()
		old := r.lock(l, "k")
		time.Sleep(DefaultTTL)
		before := r.calls()
		for what, lock := range map[string]*Lock{"unlocked": lock, "expired": old} {
			_, err := lock.Check(t.Context())
			matches(t, err, ErrNotHeld)
			if r.calls() != before {
				t.Errorf("%s: nodes were asked", what)
			}
		}
	})
}
