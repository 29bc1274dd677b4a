package quorum

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A node that runs no scripts, because of a renamed command or an access rule, would grant
// locks by SET NX and could not release them: each would last until it expires. So the
// first acquire on a node is a script. Once one has run, a plain command acquires, which is
// cheaper. A deletion that the node refuses makes its next acquire a script again.
//
// Where a node refuses the script that acquires, the script that deletes is tried alone,
// because it needs fewer rights. Where the adapter offers only that one, it is tried after
// a refused deletion, and not at first, because it takes a second round trip.

// noToken is what the script is asked to delete. No lock has it: the deletion may arrive
// late, when the lock is held.
const noToken = "redlock:no token"

// proof returns an operation that shows whether the node runs scripts.
func (s *seat) proof() backend.Op {
	if s.member.queueing.scripts {
		return s.acquireScript()
	}
	return s.futileDeletion()
}

func (s *seat) futileDeletion() backend.Op {
	return backend.Op{Kind: backend.OpEvalDelete, Key: s.attempt.key, Token: noToken}
}

// learn notes whether the node can release, which op may have shown. Err is how it ended.
func (m *member) learn(op *backend.Op, err error) {
	switch {
	case op.Kind == backend.OpSetNX:
	case err == nil:
		if !m.releases.Load() { // a read alone is cheaper
			m.releases.Store(true)
		}
	case op.Kind == backend.OpEvalDelete && refusesScripts(err):
		m.releases.Store(false)
	}
}

// proves goes on with an acquire that had to show first whether the node can release, and
// reports whether it does. Err is how the operation ended.
func (s *seat) proves(err error, now time.Time) bool {
	switch op := &s.item.Op; {
	case s.current.kind != acquiring || s.current.rejoin || s.resent:
		return false
	case op.Kind == backend.OpEvalDelete && err == nil:
		*op = s.plainAcquire()
	case op.Kind == backend.OpEval && refusesScripts(err) && s.attempt.voting == nil && !s.ticketed && !s.quarantined():
		*op = s.futileDeletion()
	default:
		return false
	}
	s.submit(now)
	return true
}

// unproven adds to the error of an acquire that the node could not release the lock:
// nothing else would tell why it is not granted.
func (s *seat) unproven(err error) error {
	if s.current.kind == acquiring && s.item.Op.Kind == backend.OpEvalDelete && refusesScripts(err) {
		return fmt.Errorf("it grants no lock, because it could not release it "+
			"(allow EVAL and EVALSHA, and in scripts GET and DEL): %w", err)
	}
	return err
}

// cannot reports whether err says that the node will not do this, however often it is asked.
func cannot(err error) bool {
	return errors.Is(err, backend.ErrRefused) || errors.Is(err, errors.ErrUnsupported)
}

// refusesScripts reports whether err says so of a script, and not of the connection: a
// wrong password says nothing about scripts.
func refusesScripts(err error) bool {
	return cannot(err) && !slices.ContainsFunc([]string{"NOAUTH", "WRONGPASS", "AUTH ", "password", "DB index"}, func(s string) bool {
		return strings.Contains(err.Error(), s)
	})
}
