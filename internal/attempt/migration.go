package attempt

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/round"
)

// migrationPause is the pause before an operation is sent again because its two keys are
// on different servers of a Cluster. Keys of a slot move within milliseconds of each
// other.
const migrationPause = 10 * time.Millisecond

// LookAgain is when the first waiter in a queue asks again although nobody notified it.
const LookAgain = 2 * time.Second

// migrating handles an error which says that the request's keys are on two servers of a
// Cluster. It sends the request in another way, or again later, and reports whether it
// does. A Cluster answers so while a slot is moving, whether the keys exist or not.
//
// A lock without a fencing token needs only its own key. An acquire then queues nobody,
// so the waiter polls. A release notifies nobody, so it is repeated with the queue until
// the first waiter has looked for itself. An operation that also changes a counter is
// repeated while its caller waits, except a vote: its caller decides when to try again. In
// shared mode every operation needs several keys, so it is repeated too.
func (s *nodeState) migrating(err error, now time.Time) bool {
	if !errors.Is(err, backend.ErrMigrating) || s.item.Op.Kind != backend.OpEval {
		return false
	}
	shared := isShared(&s.item.Op)
	switch s.current.kind {
	case round.Acquiring:
		if s.attempt.voting != nil || shared {
			return s.later(max(migrationPause, now.Sub(s.begun)), now) // doubles the pause
		}
		if !s.ticketed {
			return false
		}
	case round.Releasing:
		if s.token == absent {
			return false // it was only about the queue
		}
		if shared {
			return s.later(migrationPause, now)
		}
		if s.owed == 0 {
			s.owed = mono.Of(now).Add(LookAgain + LookAgain/4)
		}
	default:
		return s.later(migrationPause, now)
	}
	s.apart = true
	s.item.Op = s.usual()
	s.submit(now)
	return true
}

// later sends the current request again after a pause. It does not if no time would be
// left for the answer. The node state stays busy meanwhile. A request that is not a release
// is not sent again if the lock is being released.
func (s *nodeState) later(pause time.Duration, now time.Time) bool {
	releasing := s.current.kind == round.Releasing
	if s.released.Load() && !releasing || s.again || now.Add(2*pause).Sub(s.begun) > s.current.timeout {
		return false
	}
	time.AfterFunc(pause, func() {
		s.attempt.mu.Lock()
		defer s.attempt.mu.Unlock()
		s.submit(time.Now())
	})
	return true
}
