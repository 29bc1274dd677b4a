package limit

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// At least fewReleases of a group may be under way at a time, plus one for each
// releasePace of a round trip, up to manyReleases.
const (
	fewReleases  = 128
	manyReleases = 4096
	releasePace  = 10 * time.Microsecond
)

// A Gate limits how many releases of a group are under way. Otherwise a process that
// unlocks hundreds of thousands of locks at once would have as many goroutines wake up
// together when their time is over. Nothing else would run in time, including extensions.
//
// Waiting callers are in classes according to how long their locks were held. The classes
// take turns. So a lock that was held for milliseconds does not wait seconds for its
// release while the process unlocks everything that it has held for a minute.
type Gate struct {
	trip func() time.Duration

	inside atomic.Int64

	mu      sync.Mutex
	waiting atomic.Int64 // changed only under mu
	classes [gateClasses]gateClass
	served  int // the class that was served last
}

// NewGate returns a Gate. trip returns the shortest round trip to the farthest node: a
// longer one may be the effect of too many releases.
func NewGate(trip func() time.Duration) *Gate { return &Gate{trip: trip} }

// gateClasses is the number of classes. The first has locks that were held for less than
// 1 ms. Each further class has locks that were held for up to twice as long as the one
// before; the last has all others, from about a minute on.
const gateClasses = 18

// gateClassOf returns the class of a lock that was held for the given time.
func gateClassOf(held time.Duration) int {
	return min(bits.Len64(uint64(max(held, 0)/time.Millisecond)), gateClasses-1)
}

// A gateClass is a list of waiting callers. The newest and the oldest are served in turn:
// a late caller does not wait for all others, and nobody waits forever.
type gateClass struct {
	waiting []chan struct{}
	first   int  // index of the oldest in waiting
	oldest  bool // the last one served was the oldest
}

// Enter waits for a place, and reports whether the caller got one before ctx ended. since
// is when the caller's lock was acquired.
func (g *Gate) Enter(ctx context.Context, since time.Time) bool {
	if g.take() {
		return true
	}
	g.mu.Lock()
	g.waiting.Add(1)
	if g.take() { // a place became free; its user may not have seen that somebody waits
		g.waiting.Add(-1)
		g.mu.Unlock()
		return true
	}
	let := make(chan struct{}, 1)
	c := &g.classes[gateClassOf(time.Since(since))]
	c.waiting = append(c.waiting, let)
	g.mu.Unlock()
	select {
	case <-let:
		return true
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(let) > 0 {
			return true
		}
		// Its entry stays in the list. When it is served, Leave passes the place on.
		let <- struct{}{}
		return false
	}
}

// take takes a place if there is one.
func (g *Gate) take() bool {
	n := g.inside.Add(1)
	if n <= fewReleases || n <= int64(g.Limit()) {
		return true
	}
	g.inside.Add(-1)
	return false
}

// Limit returns how many releases may be under way.
func (g *Gate) Limit() int { return min(int(g.trip()/releasePace), manyReleases) }

// Leave passes a place on, or frees it.
func (g *Gate) Leave() {
	if g.waiting.Load() == 0 { // the usual case
		g.inside.Add(-1)
		// A caller that waits since then has either found this place free, or is seen here.
		if g.waiting.Load() == 0 || !g.take() {
			return
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		let := g.pop()
		if let == nil {
			g.inside.Add(-1)
			return
		}
		select {
		case let <- struct{}{}:
			return
		default: // its caller has given up
		}
	}
}

// pop removes and returns the next caller to serve, nil if none waits.
func (g *Gate) pop() chan struct{} {
	if g.waiting.Load() == 0 {
		return nil
	}
	g.waiting.Add(-1)
	for {
		g.served = (g.served + 1) % gateClasses
		if let := g.classes[g.served].pop(); let != nil {
			return let
		}
	}
}

// pop removes and returns the next caller of a class, nil if none waits.
func (c *gateClass) pop() chan struct{} {
	n := len(c.waiting)
	if c.first == n {
		c.waiting, c.first = nil, 0
		return nil
	}
	c.oldest = !c.oldest
	if c.oldest {
		let := c.waiting[c.first]
		c.waiting[c.first] = nil
		c.first++
		return let
	}
	let := c.waiting[n-1]
	c.waiting[n-1] = nil
	c.waiting = c.waiting[:n-1]
	return let
}
