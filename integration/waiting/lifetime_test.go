package waiting

import (
	"slices"
	"sync"
	"testing"
)

// A lifetime is a test whose cleanups can run before it ends. It belongs to a client that may die
// early.
type lifetime struct {
	testing.TB
	mu       sync.Mutex
	cleanups []func()
}

func newLifetime(t testing.TB) *lifetime {
	l := &lifetime{TB: t}
	t.Cleanup(l.end)
	return l
}

func (l *lifetime) Cleanup(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleanups = append(l.cleanups, f)
}

// end runs the cleanups, once.
func (l *lifetime) end() {
	l.mu.Lock()
	list := l.cleanups
	l.cleanups = nil
	l.mu.Unlock()
	for _, f := range slices.Backward(list) {
		f()
	}
}
