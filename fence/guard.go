package fence

import "sync"

// A Guard fences one resource of this process: it remembers the highest token
// seen and lets one holder at a time at the resource. It stands beside what it
// protects, as a [sync.Mutex] does, and lives as long:
//
//	type account struct {
//		guard   fence.Guard
//		balance int // under guard
//	}
//
// It protects from holders that come with tokens, from wherever, on condition that
// all of them come through this process. A new Guard has seen nothing: what outlives the
// process, a file say, keeps its token beside the data, and whoever loads the data
// announces that token first.
//
// The zero Guard is ready for use. It may be used by any number of goroutines, and
// must not be copied after its first use.
type Guard struct {
	mu      sync.Mutex
	highest uint64 // under mu
}

// Do announces token and calls fn, with the resource to itself: fn reads and
// writes, and no other fn of the same Guard runs meanwhile. It returns fn's error.
//
// If the resource has seen a higher token, Do returns a [*StaleError] and does not
// call fn. Token 0 is an error too: the lock was acquired without fencing. The token
// stays announced if fn fails or panics.
//
// Do waits for other calls of the Guard without a limit, so fn should be short; an
// fn that calls its own Guard waits for ever.
func (g *Guard) Do(token uint64, fn func() error) error {
	return g.do("", token, fn)
}

// Announce makes the resource refuse lower tokens from now on, and is for a holder
// that reads elsewhere than in [Guard.Do]. It waits for an fn that is running: when it
// has returned, what earlier holders wrote is there, and no more of it will come.
// The errors are those of Do.
func (g *Guard) Announce(token uint64) error {
	return g.do("", token, func() error { return nil })
}

func (g *Guard) do(resource string, token uint64, fn func() error) error {
	if err := check(token); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if token < g.highest {
		return &StaleError{Resource: resource, Token: token, Highest: g.highest}
	}
	g.highest = token
	return fn()
}
