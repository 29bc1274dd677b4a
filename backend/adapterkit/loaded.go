package adapterkit

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
)

// Loaded remembers which scripts a server has run, for an adapter that sends a
// script's text the first time and its hash from then on: the first use then takes
// one round trip like any other, not two, which matters on a slow network. The
// server may forget all the same, and answer NOSCRIPT, or not know EVALSHA at all. The
// zero value has seen none; its methods may be called concurrently.
type Loaded struct {
	scripts  sync.Map
	textOnly atomic.Bool
}

// Has reports whether s has run, and may be sent as its hash.
func (l *Loaded) Has(s *backend.Script) bool {
	if l.textOnly.Load() {
		return false
	}
	_, ok := l.scripts.Load(s)
	return ok
}

// TextOnly reports whether scripts have to be sent as their text, because the server has
// rejected EVALSHA.
func (l *Loaded) TextOnly() bool { return l.textOnly.Load() }

// Rejects reports whether err, a marked error reply to EVALSHA, says that the server does
// not know this command or does not allow it to the user. Then nothing was executed, the
// script has to be sent as its text, and so have all from then on.
func (l *Loaded) Rejects(err error) bool {
	if !errors.Is(err, backend.ErrRefused) {
		return false
	}
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with") // which is not the server's own
	if !strings.Contains(strings.ToLower(text), "evalsha") {
		return false
	}
	l.textOnly.Store(true)
	return true
}

// Add notes that s has run.
func (l *Loaded) Add(s *backend.Script) { l.scripts.Store(s, struct{}{}) }
