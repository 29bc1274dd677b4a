package attempt

import (
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/round"
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
	if s.member.Queueing.Scripts {
		return s.acquireScript()
	}
	return s.futileDeletion()
}

func (s *nodeState) futileDeletion() backend.Op {
	return backend.Op{Kind: backend.OpEvalDelete, Key: s.attempt.key, Token: noToken}
}

// proves continues an acquire that first had to show whether the node can release, and
// reports whether it does. err is the result of the operation so far.
func (s *nodeState) proves(err error, now time.Time) bool {
	switch op := &s.item.Op; {
	case s.current.kind != round.Acquiring || s.current.rejoin || s.resent:
		return false
	case op.Kind == backend.OpEvalDelete && err == nil:
		*op = s.plainAcquire()
	case op.Kind == backend.OpEval && member.RefusesScripts(err) && !isShared(op) && s.attempt.voting == nil && !s.ticketed && !s.quarantined():
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
	if s.current.kind == round.Acquiring && s.item.Op.Kind == backend.OpEvalDelete && member.RefusesScripts(err) {
		return fmt.Errorf("it grants no lock, because it could not release it "+
			"(allow EVAL and EVALSHA, and in scripts GET and DEL): %w", err)
	}
	return err
}
