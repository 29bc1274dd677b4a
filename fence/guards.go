package fence

import (
	"maps"
	"sync"
	"time"
)

// Guards is a [Guard] for each of many named resources of this process, such as the paths
// that a service serves.
//
// A resource takes about 100 bytes and its name (go test -run '^$' -bench Memory
// ./fence), from its first use until [Guards.Forget] drops it. So do not let just anybody
// invent names.
//
// The zero Guards is ready for use. It may be used by any number of goroutines, and must
// not be copied after its first use.
type Guards struct {
	mu    sync.Mutex
	named map[string]*named // guarded by mu
}

// named is the Guard of one resource.
type named struct {
	guard Guard
	users int       // calls that are in the guard or wait for it; guarded by Guards.mu
	left  time.Time // when the last of them left; guarded by Guards.mu
}

// Do is [Guard.Do] for a named resource. Different resources do not wait for each other.
func (g *Guards) Do(resource string, token uint64, fn func() error) error {
	if err := check(token); err != nil {
		return err // and remember nothing
	}
	n := g.enter(resource)
	defer g.leave(n)
	return n.guard.do(resource, token, fn)
}

// Announce is [Guard.Announce] for a named resource.
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

// Forget drops the resources that were not used for at least idle, and returns how many
// it dropped. Call it regularly, for example from a [time.Ticker]; nothing else drops
// resources. A dropped resource has seen no token, so a holder that was away for longer
// than idle is no longer recognised as stale. Choose an idle that is much longer than a
// holder can be paused or a request can take: a day is a good value.
//
// Forget keeps the resources that are in use, and does not wait for them. All resources
// wait for Forget, about 0.2 s if there are a million. Memory of dropped resources is
// kept for new ones.
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
