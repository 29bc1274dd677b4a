package fence

import (
	"maps"
	"sync"
	"time"
)

// Guards is a [Guard] for each of many resources of this process that have names and
// no place of their own for a Guard: the paths that a service serves, say.
//
// Each resource that was ever named takes about 100 bytes and its name (go test
// -run '^$' -bench Memory ./fence) until it is forgotten: see [Guards.Forget].
// Names should therefore not be anybody's to invent.
//
// The zero Guards is ready for use. It may be used by any number of goroutines, and
// must not be copied after its first use.
type Guards struct {
	mu    sync.Mutex
	named map[string]*named // under mu
}

// named is the Guard of one resource.
type named struct {
	guard Guard
	users int       // that are in the guard or wait for it; under Guards.mu
	left  time.Time // when the last of them left; under Guards.mu
}

// Do is [Guard.Do] for a resource by name. Different resources do not wait for each
// other.
func (g *Guards) Do(resource string, token uint64, fn func() error) error {
	if err := check(token); err != nil {
		return err // and remember nothing
	}
	n := g.enter(resource)
	defer g.leave(n)
	return n.guard.do(resource, token, fn)
}

// Announce is [Guard.Announce] for a resource by name.
func (g *Guards) Announce(resource string, token uint64) error {
	return g.Do(resource, token, func() error { return nil })
}

func (g *Guards) enter(resource string) *named {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.named[resource]
	if n == nil {
		if g.named == nil {
			g.named = make(map[string]*named)
		}
		n = new(named)
		g.named[resource] = n
	}
	n.users++
	return n
}

func (g *Guards) leave(n *named) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n.users--
	n.left = time.Now()
}

// Forget drops the resources that were not used for at least idle, and returns how
// many. What was forgotten has seen no token: a holder that was away for longer than
// idle is no longer told from a new one. So idle must be longer than a holder can be
// paused and a request be under way, by a wide margin; a day is a good value. Nothing
// is forgotten unless Forget is called, from a [time.Ticker] for instance.
//
// It keeps what is in use, and does not wait for it. All resources wait for Forget,
// about 0.2 s if there are a million. The space of what was dropped is kept for others.
func (g *Guards) Forget(idle time.Duration) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	before := len(g.named)
	maps.DeleteFunc(g.named, func(_ string, n *named) bool {
		return n.users == 0 && now.Sub(n.left) >= idle
	})
	return before - len(g.named)
}
