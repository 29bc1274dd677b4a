package limit

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// A Budget begins with firstTurns attempts at a time. It moves between the other two.
	firstTurns = 64
	leastTurns = 8
	mostTurns  = 1024

	// turnCut is the minimum time between two cuts because of answers that did not come
	// in time. Attempts that were under way together report the same problem, which must
	// count once.
	turnCut = 250 * time.Millisecond

	// An attempt that found too many nodes unavailable keeps its turn for a pause. The
	// pause doubles with each such attempt, from the first to the longest.
	firstOutagePause   = 10 * time.Millisecond
	longestOutagePause = 250 * time.Millisecond
)

// A Budget limits how many callers of a group ask the nodes at the same time without
// having been notified: those that poll, look for themselves, or begin to wait. Without a
// limit, thousands of waiters would ask so often that no answer came in time. An attempt
// that times out causes more work than one that does not, so this would not end by
// itself.
//
// The limit is a window as in TCP congestion control (RFC 5681). It grows with each
// attempt that the nodes answered, at first doubling in each round trip. It is halved
// when most answers did not come in time. While too many nodes are unavailable, each turn
// also lasts for a pause, so that all waiters together ask only a few times a second.
type Budget struct {
	mu      sync.Mutex
	window  float64
	gentle  float64 // above this the window grows by one in each round trip
	taken   int
	waiting list.List // of *Turn, the oldest first
	cut     time.Time // when the window was last halved
	outages int       // attempts in a row that found too many nodes unavailable
}

// NewBudget returns a Budget whose turns are all free.
func NewBudget() *Budget { return &Budget{window: firstTurns, gentle: mostTurns} }

// A Turn is a caller's place in a Budget. A nil Turn means that the caller needs none.
type Turn struct {
	budget *Budget
	ready  chan struct{} // closed when the caller may ask
	place  *list.Element // nil once it no longer waits
}

// Join returns a Turn, which may not be ready yet. It must be ended or left.
func (b *Budget) Join() *Turn {
	t := &Turn{budget: b, ready: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.place = b.waiting.PushBack(t)
	b.serve()
	return t
}

// serve gives turns to waiting callers while there are any.
func (b *Budget) serve() {
	for b.taken < int(b.window) && b.waiting.Len() > 0 {
		t := b.waiting.Remove(b.waiting.Front()).(*Turn)
		t.place = nil
		b.taken++
		close(t.ready)
	}
}

// Ready returns a channel that is closed when the caller may ask.
func (t *Turn) Ready() <-chan struct{} { return t.ready }

// Leave ends a turn that was not used.
func (t *Turn) Leave() {
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

// An Answer is what an attempt has found.
type Answer uint8

const (
	NoAnswer Answer = iota // the caller ended it, so it says little about the nodes
	Answered               // the nodes answered
	Silent                 // too many nodes are unavailable, and most did not answer in time
	Down                   // too many nodes are unavailable for other reasons
)

// End ends a turn that was used for an attempt.
func (t *Turn) End(a Answer) {
	if t == nil {
		return
	}
	b := t.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	pause := b.learn(a)
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

// learn adjusts the window to what an attempt has found, and returns how much longer the
// turn lasts.
func (b *Budget) learn(a Answer) (pause time.Duration) {
	switch a {
	case NoAnswer:
		return 0
	case Answered:
		b.outages = 0
		if b.window < b.gentle {
			b.window = min(b.window+1, mostTurns)
		} else {
			b.window = min(b.window+1/b.window, mostTurns)
		}
		return 0
	case Silent:
		if now := time.Now(); now.Sub(b.cut) >= turnCut {
			b.cut = now
			b.window = max(b.window/2, leastTurns)
			b.gentle = b.window
		}
		return 0 // no pause: the attempt has already taken long
	}
	if b.outages == 0 { // nodes that are down are no sign of overload either
		b.gentle = max(b.window, firstTurns)
	}
	b.window = max(b.window/2, leastTurns)
	pause = min(firstOutagePause<<min(b.outages, 10), longestOutagePause)
	b.outages++
	return pause/2 + rand.N(pause/2)
}

// ErrAway says that a caller stopped waiting because no time was left to it.
var ErrAway = errors.New("too many nodes have been unavailable for too long")

// Wait waits until a caller that has not been notified may make one more attempt. It
// returns ctx's error if ctx ends first, and [ErrAway] if left says that no time is left to
// the caller. left may be nil. The Turn must be ended or left.
func (b *Budget) Wait(ctx context.Context, left func() time.Duration) (*Turn, error) {
	t := b.Join()
	if err := t.wait(ctx, left); err != nil {
		return nil, err
	}
	return t, nil
}

// wait waits until the turn is ready. If it returns an error, it has given the turn up.
func (t *Turn) wait(ctx context.Context, left func() time.Duration) error {
	select {
	case <-t.ready: // the common case, which needs no timer
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
			t.Leave()
			return ctx.Err()
		case <-timer.C:
			d := left()
			if d <= 0 {
				t.Leave()
				return ErrAway
			}
			timer.Reset(d)
		}
	}
}
