package quorum

import (
	"context"
	"math/bits"
	"sync"
	"time"
)

// At least fewReleases of a group may be under way at a time, plus one for each
// releasePace of a round trip, up to manyReleases.
const (
	fewReleases  = 128
	manyReleases = 4096
	releasePace  = 10 * time.Microsecond
)

// A gate limits how many releases of a group are under way. Otherwise a process that
// unlocks hundreds of thousands of locks at once would have as many goroutines wake up
// together when their time is over. Nothing else would run in time, including extensions.
//
// Waiting callers are in classes according to how long their locks were held. The classes
// take turns. So a lock that was held for milliseconds does not wait seconds for its
// release while the process unlocks everything that it has held for a minute.
type gate struct {
	trip func() time.Duration // the shortest round trip: a longer one may be the effect of too many releases

	mu      sync.Mutex
	inside  int
	waiting int
	classes [gateClasses]gateClass
	served  int // the class that was served last
}

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

// enter waits for a place, and reports whether the caller got one before ctx ended. since
// is when the caller's lock was acquired.
func (g *gate) enter(ctx context.Context, since time.Time) bool {
	g.mu.Lock()
	if g.inside < fewReleases || g.inside < g.limit() {
		g.inside++
		g.mu.Unlock()
		return true
	}
	let := make(chan struct{}, 1)
	c := &g.classes[gateClassOf(time.Since(since))]
	c.waiting = append(c.waiting, let)
	g.waiting++
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
		// Its entry stays in the list. When it is served, leave passes the place on.
		let <- struct{}{}
		return false
	}
}

// limit returns how many releases may be under way.
func (g *gate) limit() int { return min(int(g.trip()/releasePace), manyReleases) }

// leave frees a place.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		let := g.pop()
		if let == nil {
			g.inside--
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
func (g *gate) pop() chan struct{} {
	if g.waiting == 0 {
		return nil
	}
	g.waiting--
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
