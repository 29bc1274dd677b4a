package quorum

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A node that runs no scripts, because of a renamed command or an access rule, would
// grant locks by SET NX and could not release them. Each would last until it expires. So
// the first acquire on a node is a script. Once a script has run, acquires are plain
// commands, which are cheaper. If the node refuses a deletion, its next acquire is a
// script again.
//
// If a node refuses the acquire script, the delete script is tried alone, because it
// needs fewer rights. If the adapter offers only the delete script, the check comes after
// a refused deletion, and not on the first acquire, because it takes a second round trip.

// noToken is the token that the check tries to delete. No lock has it, so a late deletion
// does not harm a lock that is held.
const noToken = "redlock:no token"

// proof returns an operation that shows whether the node runs scripts.
func (s *nodeState) proof() backend.Op {
	if s.member.queueing.scripts {
		return s.acquireScript()
	}
	return s.futileDeletion()
}

func (s *nodeState) futileDeletion() backend.Op {
	return backend.Op{Kind: backend.OpEvalDelete, Key: s.attempt.key, Token: noToken}
}

// learn notes what op, which ended with err, shows about the node's ability to release.
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

// proves continues an acquire that first had to show whether the node can release, and
// reports whether it does. err is the result of the operation so far.
func (s *nodeState) proves(err error, now time.Time) bool {
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

// unproven adds to the error of an acquire that the node could not have released the
// lock. Nothing else explains why the lock is not granted.
func (s *nodeState) unproven(err error) error {
	if s.current.kind == acquiring && s.item.Op.Kind == backend.OpEvalDelete && refusesScripts(err) {
		return fmt.Errorf("it grants no lock, because it could not release it "+
			"(allow EVAL and EVALSHA, and in scripts GET and DEL): %w", err)
	}
	return err
}

// cannot reports whether err says that the node will never do this, however often it is
// asked.
func cannot(err error) bool {
	return errors.Is(err, backend.ErrRefused) || errors.Is(err, errors.ErrUnsupported)
}

// refusesScripts reports whether err is a refusal of a script rather than of the
// connection. A wrong password says nothing about scripts.
func refusesScripts(err error) bool {
	return cannot(err) && !slices.ContainsFunc([]string{"NOAUTH", "WRONGPASS", "AUTH ", "password", "DB index"}, func(s string) bool {
		return strings.Contains(err.Error(), s)
	})
}
