package sender

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// Claim begins a call that the caller makes itself. It does so if nothing is under way or
// waits and the node has answered the last call. If it returns true, the caller makes the
// call with a context of [Shared.Context] or its own, and then calls Yield.
func (s *Sender) Claim(it *Item, now time.Time) bool {
	if s.busy.Load() { // under load, do without the mutex, which Submit will need
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls+s.held > 0 || !s.answered || s.brake.failures > 0 || s.queued()+s.deletions.parks > 0 {
		return false
	}
	s.begin(now)
	s.fly(it)
	return true
}

// Yield ends a call begun by Claim, and completes the item. A time-out says little,
// because the deadline was the caller's. The sender's own next call will tell.
func (s *Sender) Yield(it *Item, r backend.Result, began, now time.Time) {
	failed := s.yield(it, r.Err, began, now)
	it.Owner.Complete(r, true, now)
	if failed != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.deletions.land(failed, &s.acquires)
		s.start(now)
	}
}

func (s *Sender) yield(it *Item, err error, began, now time.Time) (failed *keyDeletions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over()
	failed = s.land(it, err)
	s.moved(it.Key, err, now)
	s.answered = answered(err)
	switch {
	case s.answered:
		s.answer(began, now, false)
	case !errors.Is(err, context.DeadlineExceeded):
		s.failed(err, began, now)
	case s.reconnecter != nil && s.trip.answers > 0 && now.Sub(began) >= s.patience(it.Wait):
		s.reconnecter.Reconnect(it.Key)
	}
	s.start(now)
	return failed
}

// Context returns a context for a call that a caller makes itself. It ends after most at
// the latest.
func (g *Shared) Context(most time.Duration, now time.Time) context.Context {
	return g.inline.get(most, most/64, now)
}
