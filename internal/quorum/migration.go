package quorum

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// migrationPause is after how long an operation is sent again that needs two keys which a
// Cluster has on two servers for now. Keys are moved within milliseconds of each other.
const migrationPause = 10 * time.Millisecond

// migrating does the current request in another way, or later, if the node is a Cluster
// that has its keys on two servers, and reports whether it does. A Cluster answers so for
// a slot that is on the move, whether the keys exist or not.
//
// A lock without a fencing token needs its own key alone. An acquire then queues nobody, so
// that the waiter polls. A release notifies nobody, so it is repeated with the queue until
// the first in there has looked by itself. What changes a counter beside the lock waits for
// as long as the caller does. A vote does not: the caller decides when to try again.
func (s *seat) migrating(err error, now time.Time) bool {
	if !errors.Is(err, backend.ErrMigrating) || s.item.Op.Kind != backend.OpEval {
		return false
	}
	switch s.current.kind {
	case acquiring:
		if s.attempt.voting != nil {
			return s.later(max(migrationPause, now.Sub(s.begun)), now) // which doubles
		}
		if !s.ticketed {
			return false
		}
	case releasing:
		if s.token == absent {
			return false // it was about the queue alone
		}
		if s.owed.IsZero() {
			s.owed = now.Add(lookAgain + lookAgain/4)
		}
	default:
		return s.later(migrationPause, now)
	}
	s.apart = true
	s.item.Op = s.operation()
	s.submit(now)
	return true
}

// later sends the current request again after a pause, unless that leaves no time for the
// answer, or the lock is being released. The seat stays busy meanwhile.
func (s *seat) later(pause time.Duration, now time.Time) bool {
	if s.released.Load() || now.Add(2*pause).After(s.item.Expires) {
		return false
	}
	time.AfterFunc(pause, func() {
		s.attempt.mu.Lock()
		defer s.attempt.mu.Unlock()
		s.submit(time.Now())
	})
	return true
}
