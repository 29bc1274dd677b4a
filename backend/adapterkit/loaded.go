package adapterkit

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
)

// Loaded remembers which scripts a server has run, for an adapter that sends a script's
// text the first time and its hash from then on. So the first use takes one round trip,
// like any other, which matters on a slow network. The server may still forget a script
// and answer NOSCRIPT, or not know EVALSHA at all.
//
// The zero value has seen no script. Its methods may be called concurrently.
type Loaded struct {
	scripts  sync.Map
	textOnly atomic.Bool
}

// Has reports whether s has run, so that its hash can be sent.
func (l *Loaded) Has(s *backend.Script) bool {
	if l.textOnly.Load() {
		return false
	}
	_, ok := l.scripts.Load(s)
	return ok
}

// TextOnly reports whether the server has rejected EVALSHA, so that scripts have to be
// sent as their text.
func (l *Loaded) TextOnly() bool { return l.textOnly.Load() }

// Rejects reports whether err, a marked error reply to EVALSHA, means that the server
// does not know this command or does not allow it to the user. Then nothing was executed,
// and this script and all later ones have to be sent as their text.
func (l *Loaded) Rejects(err error) bool {
	if !errors.Is(err, backend.ErrRefused) {
		return false
	}
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with") // what follows is quoted from the command
	if !strings.Contains(strings.ToLower(text), "evalsha") {
		return false
	}
	l.textOnly.Store(true)
	return true
}

// Add records that s has run.
func (l *Loaded) Add(s *backend.Script) { l.scripts.Store(s, struct{}{}) }
