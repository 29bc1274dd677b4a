package fence

import "sync"

// A Guard fences one resource of this process. It remembers the highest token that it has
// seen, and admits one holder at a time. Declare it beside the data that it protects,
// like a [sync.Mutex]:
//
//	type account struct {
//		guard   fence.Guard
//		balance int // under guard
//	}
//
// All holders must come through this process. A new Guard has seen no token. So if the
// data outlives the process, as in a file, store the token with the data, and announce it
// first when you load the data.
//
// The zero Guard is ready for use. It may be used by any number of goroutines, and must
// not be copied after its first use.
type Guard struct {
	mu      sync.Mutex
	highest uint64 // guarded by mu
}

// Do announces token, calls fn and returns its error. No other fn of the same Guard runs
// meanwhile. If the resource has seen a higher token, Do returns a [*StaleError] and does
// not call fn. Token 0 is an error too, because the lock was acquired without fencing.
// The token stays announced if fn fails or panics.
//
// Do waits for other calls of the Guard without a limit, so fn should be short. An fn
// that calls its own Guard waits for ever.
func (g *Guard) Do(token uint64, fn func() error) error {
	return g.do("", token, fn)
}

// Announce makes the resource reject lower tokens from now on. It is for a holder that
// reads outside of [Guard.Do]. It waits for a running fn. So when it has returned,
// everything that earlier holders wrote is there, and they will write no more. The errors
// are those of Do.
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
