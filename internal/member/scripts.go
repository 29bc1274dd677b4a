package member

import (
	"errors"
	"slices"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
)

// Learn notes what op, which ended with err, shows about the node's ability to release.
func (m *Member) Learn(op *backend.Op, err error, acquiring bool) {
	switch {
	case op.Kind == backend.OpSetNX:
	case err == nil && acquiring && op.Kind == backend.OpEval: // it shows nothing if the lock is taken
	case err == nil:
		if !m.Releases.Load() { // a read alone is cheaper
			m.Releases.Store(true)
		}
	case op.Kind == backend.OpEvalDelete && RefusesScripts(err):
		m.Releases.Store(false)
	}
}

// Deleted notes that the node has deleted a key.
func (m *Member) Deleted() {
	m.Refuses.Settled()
	if m.Keeps.Load() { // a read alone is cheaper
		m.Keeps.Store(false)
	}
}

// Cannot reports whether err says that the node will never do this, however often it is
// asked.
func Cannot(err error) bool {
	return errors.Is(err, backend.ErrRefused) || errors.Is(err, errors.ErrUnsupported)
}

// RefusesScripts reports whether err is a refusal of a script rather than of the
// connection. A wrong password says nothing about scripts.
func RefusesScripts(err error) bool {
	return Cannot(err) && !slices.ContainsFunc([]string{"NOAUTH", "WRONGPASS", "AUTH ", "password", "DB index"}, func(s string) bool {
		return strings.Contains(err.Error(), s)
	})
}
