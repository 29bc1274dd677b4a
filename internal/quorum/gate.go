package quorum

import (
	"context"
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
// The newest and the oldest caller that waits are let through by turns: a caller that
// comes later does not wait for all the others, and nobody waits for ever.
type gate struct {
	trip func() time.Duration // how long a round trip takes

	mu      sync.Mutex
	inside  int
	waiting []chan struct{}
	first   int  // of waiting, the oldest
	oldest  bool // the next one is
}

// enter waits for a place, or until ctx ends, and returns whether the caller has one.
func (g *gate) enter(ctx context.Context) bool {
	g.mu.Lock()
	if g.inside < fewReleases || g.inside < g.limit() {
		g.inside++
		g.mu.Unlock()
		return true
	}
	let := make(chan struct{}, 1)
	g.waiting = append(g.waiting, let)
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
	n := len(g.waiting)
	if g.first == n {
		g.waiting, g.first = nil, 0
		return nil
	}
	g.oldest = !g.oldest
	if g.oldest {
		let := g.waiting[g.first]
		g.waiting[g.first] = nil
		g.first++
		return let
	}
	let := g.waiting[n-1]
	g.waiting = g.waiting[:n-1]
	return let
}
