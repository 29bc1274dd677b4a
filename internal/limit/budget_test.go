package limit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func (t *Turn) isReady() bool {
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
	b := NewBudget()
	var turns []*Turn
	for range firstTurns + 4 {
		turns = append(turns, b.Join())
	}
	for i, turn := range turns {
		if got, want := turn.isReady(), i < firstTurns; got != want {
			t.Fatalf("turn %d is ready: %v, want %v", i, got, want)
		}
	}
	turns[firstTurns+1].Leave() // it waited
	turns[0].Leave()            // it was ready
	turns[1].End(NoAnswer)      // which says nothing
	for i, want := range []bool{true, false, true, false} {
		if got := turns[firstTurns+i].isReady(); got != want {
			t.Errorf("turn %d of those that waited is ready: %v, want %v", i, got, want)
		}
	}
	var none *Turn
	none.Leave()
	none.End(Answered)
}

// The window doubles in each round trip until an answer did not come in time, and grows by
// one from there on.
func TestBudgetFollowsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		round := func(res Answer) {
			var turns []*Turn
			for range int(b.window) {
				turns = append(turns, b.Join())
			}
			for _, turn := range turns {
				turn.End(res)
			}
			time.Sleep(turnCut)
		}
		round(Answered)
		if b.window != 2*firstTurns {
			t.Errorf("the window is %v after one round trip, want %v", b.window, 2*firstTurns)
		}
		round(Silent) // many at once count once
		if b.window != firstTurns {
			t.Errorf("the window is %v after answers were late, want %v", b.window, firstTurns)
		}
		round(Answered)
		if b.window < firstTurns+0.9 || b.window > firstTurns+1 {
			t.Errorf("the window is %v after one more round trip, want %v", b.window, firstTurns+1)
		}
		for range 20 {
			round(Silent)
		}
		if b.window != leastTurns {
			t.Errorf("the window is %v, want at least %v", b.window, leastTurns)
		}
		for range 2000 {
			round(Answered)
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
		b := NewBudget()
		ctx, cancel := context.WithCancel(t.Context())
		var (
			mu       sync.Mutex
			attempts int
			res      = Down
			all      sync.WaitGroup
		)
		for range 5000 {
			all.Go(func() {
				for ctx.Err() == nil {
					turn := b.Join()
					select {
					case <-turn.ready:
					case <-ctx.Done():
						turn.Leave()
						return
					}
					mu.Lock()
					attempts++
					r := res
					mu.Unlock()
					if r == Answered {
						time.Sleep(time.Millisecond)
					}
					turn.End(r)
				}
			})
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		away := attempts
		attempts, res = 0, Answered
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
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		var held []*Turn
		for range firstTurns {
			one, err := b.Wait(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, one)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Wait(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a turn beyond the window: %v", err)
		}
		var away atomic.Int64
		away.Store(int64(300 * time.Millisecond))
		start := time.Now()
		left := func() time.Duration { return time.Duration(away.Load()) - time.Since(start) }
		time.AfterFunc(200*time.Millisecond, func() { away.Store(int64(600 * time.Millisecond)) }) // the nodes have answered somebody
		if _, err := b.Wait(t.Context(), left); err != ErrAway || time.Since(start) != 600*time.Millisecond {
			t.Errorf("a caller that gives up: %v after %v", err, time.Since(start))
		}
		for _, one := range held {
			one.End(Answered)
		}
		if b.taken != 0 || b.waiting.Len() != 0 {
			t.Error("turns are left")
		}
	})
}
