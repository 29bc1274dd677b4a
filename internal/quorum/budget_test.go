package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// results of attempts that move a budget
var (
	answeredResult = Result{Verdict: Lost, Votes: []Vote{{Outcome: Taken}}}
	slowNodeResult = Result{Verdict: Lost, Votes: []Vote{{Outcome: Taken}, {Outcome: Taken}, {Outcome: TimedOut}}}
	lateResult     = Result{Verdict: Unavailable, Votes: []Vote{{Outcome: Taken}, {Outcome: TimedOut}, {Outcome: TimedOut}}}
	awayResult     = Result{Verdict: Unavailable, Votes: []Vote{{Outcome: Failed}}}
)

func (t *turn) isReady() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// So many turns are given out as the window has room for, in order, and one that is ended
// or left lets the next one in.
func TestBudgetIsAWindow(t *testing.T) {
	b := newBudget()
	var turns []*turn
	for range firstTurns + 4 {
		turns = append(turns, b.join())
	}
	for i, turn := range turns {
		if got, want := turn.isReady(), i < firstTurns; got != want {
			t.Fatalf("turn %d is ready: %v, want %v", i, got, want)
		}
	}
	turns[firstTurns+1].leave() // it waited
	turns[0].leave()            // it was ready
	turns[1].end(Result{})      // which says nothing
	for i, want := range []bool{true, false, true, false} {
		if got := turns[firstTurns+i].isReady(); got != want {
			t.Errorf("turn %d of those that waited is ready: %v, want %v", i, got, want)
		}
	}
	var none *turn
	none.leave()
	none.end(answeredResult)
}

// The window doubles in each round trip until an answer did not come in time, and grows by
// one from there on.
func TestBudgetFollowsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		round := func(res Result) {
			var turns []*turn
			for range int(b.window) {
				turns = append(turns, b.join())
			}
			for _, turn := range turns {
				turn.end(res)
			}
			time.Sleep(turnCut)
		}
		round(answeredResult)
		if b.window != 2*firstTurns {
			t.Errorf("the window is %v after one round trip, want %v", b.window, 2*firstTurns)
		}
		round(lateResult) // many at once count once
		if b.window != firstTurns {
			t.Errorf("the window is %v after answers were late, want %v", b.window, firstTurns)
		}
		round(answeredResult)
		if b.window < firstTurns+0.9 || b.window > firstTurns+1 {
			t.Errorf("the window is %v after one more round trip, want %v", b.window, firstTurns+1)
		}
		round(slowNodeResult)
		if b.window < firstTurns+1 || b.window > firstTurns+2 {
			t.Errorf("the window is %v after one node was slow, want %v", b.window, firstTurns+2)
		}
		for range 20 {
			round(lateResult)
		}
		if b.window != leastTurns {
			t.Errorf("the window is %v, want at least %v", b.window, leastTurns)
		}
		for range 2000 {
			round(answeredResult)
		}
		if b.window > mostTurns {
			t.Errorf("the window is %v, want at most %v", b.window, mostTurns)
		}
	})
}

// While too many nodes are unavailable, thousands of callers make few attempts between
// them. The window is back soon after the nodes are.
func TestBudgetInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		ctx, cancel := context.WithCancel(t.Context())
		var (
			mu       sync.Mutex
			attempts int
			res      = awayResult
			all      sync.WaitGroup
		)
		for range 5000 {
			all.Go(func() {
				for ctx.Err() == nil {
					turn := b.join()
					select {
					case <-turn.ready:
					case <-ctx.Done():
						turn.leave()
						return
					}
					mu.Lock()
					attempts++
					r := res
					mu.Unlock()
					if r.Verdict == Lost {
						time.Sleep(time.Millisecond)
					}
					turn.end(r)
				}
			})
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		away := attempts
		attempts, res = 0, answeredResult
		mu.Unlock()
		time.Sleep(time.Second)
		mu.Lock()
		back := attempts
		mu.Unlock()
		cancel()
		all.Wait()
		if away < 50 || away > 1200 {
			t.Errorf("%d attempts in an outage of 10s", away)
		}
		if back < 20_000 {
			t.Errorf("%d attempts in the second after it", back)
		}
		if b.taken != 0 || b.waiting.Len() != 0 {
			time.Sleep(longestOutagePause) // of turns that last on
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.taken != 0 || b.waiting.Len() != 0 {
				t.Errorf("%d turns are taken, and %d wait", b.taken, b.waiting.Len())
			}
		}
	})
}

// A turn that a caller does not wait for any more is left.
func TestTurnIsCancelled(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		var held []Turn
		for range firstTurns {
			turn, err := w.group.Turn(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, turn)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.group.Turn(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a turn beyond the window: %v", err)
		}
		var away atomic.Int64
		away.Store(int64(300 * time.Millisecond))
		start := time.Now()
		left := func() time.Duration { return time.Duration(away.Load()) - time.Since(start) }
		time.AfterFunc(200*time.Millisecond, func() { away.Store(int64(600 * time.Millisecond)) }) // the nodes have answered somebody
		if _, err := w.group.Turn(t.Context(), left); err != ErrAway || time.Since(start) != 600*time.Millisecond {
			t.Errorf("a caller that gives up: %v after %v", err, time.Since(start))
		}
		for _, turn := range held {
			turn.End(answeredResult)
		}
		if w.group.budget.taken != 0 || w.group.budget.waiting.Len() != 0 {
			t.Error("turns are left")
		}
	})
}

// Many waiters whose subscription breaks and comes back ask under the budget, and all of
// them get their locks.
func TestManyWaitersAreWokenAtOnce(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		const keys = 500
		for i := range keys {
			w.mem[0].Set(fmt.Sprint("k", i), "foreign", time.Hour)
		}
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				a, err := p.lock(t.Context(), fmt.Sprint("k", i))
				if err != nil {
					t.Error(err)
					return
				}
				a.release()
			})
		}
		time.Sleep(time.Second)
		var meter busyMeter
		p.set(meter.fault, faulty.Delay(5*time.Millisecond))
		p.locals.wakeAll(false)
		time.Sleep(500 * time.Millisecond)
		if ops := meter.ops.Load(); ops < keys {
			t.Errorf("%d operations after all were woken, want one for each of %d", ops, keys)
		}
		if most := meter.mostOps.Load(); most > 4*firstTurns {
			t.Errorf("%d operations in a call, of a budget that began with %d", most, firstTurns)
		}
		p.set()
		for i := range keys {
			w.mem[0].EvalDelete(t.Context(), fmt.Sprint("k", i), "foreign")
		}
		all.Wait()
	})
}
