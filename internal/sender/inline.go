package sender

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// Claim begins a call of up to n operations that the caller makes itself. It does so if
// nothing is under way or waits, the node has answered the last call, and the operations
// fit into one call, also if all of them are deletions. If it returns true, no other call
// begins until the caller calls Make, which it must do without blocking before.
func (s *Sender) Claim(n int, now time.Time) bool {
	if s.busy.Load() { // under load, do without the mutex, which Submit will need
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls+s.held > 0 || !s.answered || s.brake.failures > 0 || s.queued()+s.deletions.parks > 0 ||
		n > min(s.most(now), s.patient()) {
		return false
	}
	s.begin(now)
	s.held++
	return true
}

// Make makes a call that was begun by Claim, and completes its items, all of which have
// the same Wait. They have not waited, so it does not ask whether they are unwanted. ctx is a
// context of [Shared.Context] or the caller's own. If the adapter or an owner panics, the
// items are completed all the same.
func (s *Sender) Make(ctx context.Context, items []*Item, began time.Time) {
	s.mu.Lock()
	for _, it := range items {
		s.fly(it)
	}
	s.held--
	if s.queued() > 0 {
		s.start(began)
	}
	s.mu.Unlock()
	for _, it := range items {
		it.Owner.Leave()
	}
	var (
		results   []backend.Result
		failed    []*parking
		completed int
	)
	defer func() {
		if len(results) < len(items) { // the adapter has panicked
			results = make([]backend.Result, len(items))
			for i := range results {
				results[i].Err = errPanicked
			}
			failed = s.yield(items, results, began, time.Now())
		}
		if completed < len(items) || len(failed) > 0 { // if completed is less, an owner has panicked, or the adapter
			s.finish(items[completed:], results[completed:], failed)
		}
	}()
	switch len(items) {
	case 0: // nothing has to be sent
	case 1:
		op := items[0].Op
		results = []backend.Result{op.Do(ctx, s.node)}
	default:
		room := s.shared.room()
		defer s.shared.leave(room)
		for _, it := range items {
			room.ops = append(room.ops, it.Op)
		}
		results = s.batch(ctx, room.ops)
		if cannotBatch(room.ops, results) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.over()
			s.separate(items, time.Now())
			completed = len(items) // by the calls that follow
			return
		}
	}
	now := time.Now()
	s.shared.gathering.note(now)
	failed = s.yield(items, results, began, now)
	for completed < len(items) {
		completed++
		items[completed-1].Owner.Complete(results[completed-1], true, now)
	}
}

// finish completes items and settles failed, even if owners panic.
func (s *Sender) finish(items []*Item, results []backend.Result, failed []*parking) {
	if len(items) > 0 {
		defer s.finish(items[1:], results[1:], failed)
		items[0].Owner.Complete(results[0], true, time.Now())
	} else if len(failed) > 0 {
		s.settle(failed, time.Now())
	}
}

// errPanicked is the error of operations whose outcome is unknown.
var errPanicked = errors.New("the adapter has panicked")

// yield notes that a call of Make has ended. A time-out says little, because the deadline
// was the caller's. The sender's own next call will tell. It returns the parkings
// of failed deletions.
func (s *Sender) yield(items []*Item, results []backend.Result, began, now time.Time) (failed []*parking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over()
	defer s.start(now)
	if len(items) == 0 {
		return nil
	}
	filled := s.flying >= s.brake.window
	failed = s.landAll(items, results, nil, now)
	err := worst(results)
	s.answered = answered(err)
	first := items[0]
	switch {
	case s.answered:
		s.answer(began, now, filled)
	case !errors.Is(err, context.DeadlineExceeded):
		s.failed(err, began, now)
	case s.reconnecter != nil && s.trip.answers > 0 && now.Sub(began) >= s.patience(first.Wait):
		s.reconnecter.Reconnect(first.Key)
	}
	return failed
}

// Context returns a context for a call that a caller makes itself. It ends after most at
// the latest.
func (g *Shared) Context(most time.Duration, now time.Time) context.Context {
	return g.inline.get(most, most/64, now)
}
