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
// the first acquire on a node is a script, which from Redis 7 on also checks the right to
// DEL. Once it has granted a lock, acquires are plain commands, which are cheaper.
//
// If a node refuses a deletion, it must show before each acquire that it deletes, until such
// an acquire is granted or a lock is released. (While somebody holds the lock, the script calls
// no DEL and shows nothing. docs/design.md says what follows if that lock ends just then.)
// This takes another round trip, so it does not come before the first acquire.
//
// If a node refuses the acquire script, the delete script is tried alone, because it
// needs fewer rights.

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
	case s.current.kind != round.Acquiring || s.current.rejoin:
		return false
	case op.Kind == backend.OpEvalDelete && err == nil:
		s.resent = false // nothing but the deletion was sent so far
		s.shown = true
		*op = s.usual()
	case s.resent:
		return false
	case op.Kind == backend.OpEval && member.RefusesScripts(err) && !isShared(op) && s.attempt.voting == nil && !s.ticketed && !s.quarantined():
		*op = s.futileDeletion()
	default:
		return false
	}
	s.submit(now)
	return true
}

// unreleasable adds to the error of a deletion which rights are missing. An acquire that
// ends with this error was not granted, because the node could not have released the
// lock. Nothing else explains why.
func (s *nodeState) unreleasable(err error) error {
	if s.item.Op.Kind != backend.OpEvalDelete || !member.RefusesScripts(err) {
		return err
	}
	what := "it does not release the lock"
	if s.current.kind == round.Acquiring {
		what = "it grants no lock, because it could not release it"
	}
	return fmt.Errorf("%s (allow EVAL and EVALSHA, and in scripts GET and DEL): %w", what, err)
}
