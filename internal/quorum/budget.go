package quorum

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// A budget begins with firstTurns attempts at a time, and moves between the other two.
	firstTurns = 64
	leastTurns = 8
	mostTurns  = 1024

	// turnCut is for how long at least an answer that did not come in time cuts the
	// budget only once: attempts that were under way together tell the same.
	turnCut = 250 * time.Millisecond

	// An attempt that found too many nodes unavailable keeps its turn for a pause that
	// doubles with each of them from the first to the longest.
	firstOutagePause   = 10 * time.Millisecond
	longestOutagePause = 250 * time.Millisecond
)

// A budget limits how many callers of a group ask the nodes at the same time without
// having been notified: they poll, look for themselves, or begin to wait. Without it
// thousands of waiters would ask so often that no answer came in time, and every attempt
// that times out causes more work than one that does not.
//
// It is a window as in TCP congestion control (RFC 5681): it grows with each attempt that
// the nodes answered, doubling in each round trip at first, and is halved when most answers
// did not come in time. While too many nodes are unavailable, a turn also lasts for a
// pause, so that all waiters together ask a few times a second.
type budget struct {
	mu      sync.Mutex
	window  float64
	gentle  float64 // from here on the window grows by one in each round trip
	taken   int
	waiting list.List // of *turn, in the order in which they came
	cut     time.Time // when the window was last halved
	outages int       // attempts in a row that found too many nodes unavailable
}

func newBudget() *budget { return &budget{window: firstTurns, gentle: mostTurns} }

// A turn is a caller's place in a budget. A nil turn is no place.
type turn struct {
	budget *budget
	ready  chan struct{} // closed when the caller may ask
	place  *list.Element // nil when it need not wait any more
}

// join returns a turn, which may have to wait until it is ready. It must be ended.
func (b *budget) join() *turn {
	t := &turn{budget: b, ready: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.place = b.waiting.PushBack(t)
	b.serve()
	return t
}

// serve lets those who wait have their turns, while there are any.
func (b *budget) serve() {
	for b.taken < int(b.window) && b.waiting.Len() > 0 {
		t := b.waiting.Remove(b.waiting.Front()).(*turn)
		t.place = nil
		b.taken++
		close(t.ready)
	}
}

// leave ends a turn that was not used.
func (t *turn) leave() {
	if t == nil {
		return
	}
	b := t.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.place != nil {
		b.waiting.Remove(t.place)
		t.place = nil
		return
	}
	b.taken--
	b.serve()
}

// end ends a turn that was used for an attempt with that result.
func (t *turn) end(res Result) {
	if t == nil {
		return
	}
	b := t.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	pause := b.learn(res)
	if pause == 0 {
		b.taken--
		b.serve()
		return
	}
	time.AfterFunc(pause, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.taken--
		b.serve()
	})
}

// learn moves the window, and returns for how long the turn lasts on.
func (b *budget) learn(res Result) (pause time.Duration) {
	switch {
	case res.CtxErr != nil || res.Verdict == Undecided:
		return 0 // it says little
	case res.Verdict != Unavailable:
		b.outages = 0
		if b.window < b.gentle {
			b.window = min(b.window+1, mostTurns)
		} else {
			b.window = min(b.window+1/b.window, mostTurns)
		}
		return 0
	}
	silent := 0
	for _, v := range res.Votes {
		if v.Outcome == TimedOut {
			silent++
		}
	}
	now := time.Now()
	if 2*silent > len(res.Votes) { // one node that is always slow is no sign of too much
		if now.Sub(b.cut) >= turnCut {
			b.cut = now
			b.window = max(b.window/2, leastTurns)
			b.gentle = b.window
		}
		return 0 // the attempt itself has taken long enough
	}
	if b.outages == 0 { // the nodes are away, which is no sign of too much either
		b.gentle = max(b.window, firstTurns)
	}
	b.window = max(b.window/2, leastTurns)
	pause = min(firstOutagePause<<min(b.outages, 10), longestOutagePause)
	b.outages++
	return pause/2 + rand.N(pause/2)
}

// ErrAway ends the wait for a turn of a caller that gives up.
var ErrAway = errors.New("too many nodes have been unavailable for too long")

// wait waits until the turn is ready, ctx ends, or no time is left to the caller by what
// left says, which may be nil. It leaves the turn unless it is ready.
func (t *turn) wait(ctx context.Context, left func() time.Duration) error {
	select {
	case <-t.ready: // which is common, and needs no timer
		return nil
	default:
	}
	if left == nil {
		left = func() time.Duration { return time.Hour }
	}
	timer := time.NewTimer(left())
	defer timer.Stop()
	for {
		select {
		case <-t.ready:
			return nil
		case <-ctx.Done():
			t.leave()
			return ctx.Err()
		case <-timer.C:
			d := left()
			if d <= 0 {
				t.leave()
				return ErrAway
			}
			timer.Reset(d)
		}
	}
}

// A Turn is the leave to make one attempt without having been notified. See [Group.Turn].
type Turn struct{ turn *turn }

// Turn waits until a caller that has not been notified may make one more attempt. It
// returns ctx's error if that ends before, and [ErrAway] if left, which may be nil, says
// that no time is left to the caller. The turn must be ended.
func (g *Group) Turn(ctx context.Context, left func() time.Duration) (Turn, error) {
	t := g.budget.join()
	if err := t.wait(ctx, left); err != nil {
		return Turn{}, err
	}
	return Turn{t}, nil
}

// End ends the turn with the result of the attempt. The zero Turn has nothing to end.
func (t Turn) End(res Result) { t.turn.end(res) }
