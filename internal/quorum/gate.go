package quorum

import (
	"context"
	"math/bits"
	"sync"
	"time"
)

// At least fewReleases of a group are under way at a time, and for each releasePace of a
// round trip one more, up to manyReleases.
const (
	fewReleases  = 128
	manyReleases = 4096
	releasePace  = 10 * time.Microsecond
)

// A gate limits how many releases of a group are under way. A process that unlocks
// hundreds of thousands of locks at once would else have as many goroutines wake up
// together when their time is over, and nothing else would run in time, extensions
// included.
//
// Callers that wait are in classes by how long their locks were held. The classes take
// turns, so that a lock that was held for milliseconds does not wait for seconds to be
// unlocked because a process unlocks everything that it has held for a minute.
type gate struct {
	trip func() time.Duration // the shortest round trip: a longer one may be due to too many releases

	mu      sync.Mutex
	inside  int
	waiting int
	classes [gateClasses]gateClass
	served  int // the class that was let through last
}

// gateClasses is how many classes there are. Each has locks that were held for up to
// twice as long as those of the one before: the first up to 1 ms, the last from 2 minutes on.
const gateClasses = 18

// gateClassOf returns the class of a lock that was held for so long.
func gateClassOf(held time.Duration) int {
	return min(bits.Len64(uint64(max(held, 0)/time.Millisecond)), gateClasses-1)
}

// A gateClass is callers that wait. The newest and the oldest are let through by turns: a
// caller that comes later does not wait for all the others, and nobody waits for ever.
type gateClass struct {
	waiting []chan struct{}
	first   int  // of waiting, the oldest
	oldest  bool // the next one is
}

// enter waits for a place, or until ctx ends, and returns whether the caller has one. Its
// lock has been held since that time.
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
		// It stays among those who wait, and gives its place to the next when let through.
		let <- struct{}{}
		return false
	}
}

// limit returns how many releases may be under way.
func (g *gate) limit() int { return min(int(g.trip()/releasePace), manyReleases) }

// leave gives back a place.
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
		default: // its caller has gone on
		}
	}
}

// pop takes out the next caller that is to be let through, nil if none waits.
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

// pop takes out the next caller of a class, nil if none waits.
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
