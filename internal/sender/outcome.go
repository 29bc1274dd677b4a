package sender

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// land notes that an operation is no longer under way. If a deletion failed, acquires
// that wait for it continue to wait until its owner has had the chance to send it again
// first. Then land returns where they wait.
func (s *Sender) land(it *Item, err error) *parking {
	s.flying--
	if it.Class != Deleting {
		return nil
	}
	s.flyingDeletes--
	if err != nil {
		return s.deletions.fail(it)
	}
	s.deletions.land(it, &s.acquires)
	return nil
}

// landAll notes the results of the operations of a call. It appends the parkings of
// failed deletions to failed.
func (s *Sender) landAll(items []*Item, results []backend.Result, failed []*parking, now time.Time) []*parking {
	for i, it := range items {
		if p := s.land(it, results[i].Err); p != nil {
			failed = append(failed, p)
		}
	}
	for i, it := range items {
		s.moved(it.Key, results[i].Err, now)
	}
	return failed
}

// settle releases acquires that waited for failed deletions. They are sent after whatever
// the owners of the deletions have submitted meanwhile.
func (s *Sender) settle(failed []*parking, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range failed {
		s.deletions.settle(p, &s.acquires)
	}
	s.start(now)
}

// note records a call that lasted from began to now, and reports whether it was lost. If
// the brake is on, acquires that have not been sent fail.
func (s *Sender) note(r *room, began, now time.Time) (lost bool) {
	err := worst(r.results)
	s.mu.Lock()
	if s.ended(r) {
		s.lost--
		if answered(err) {
			s.answered = true
			s.answer(began, now, false)
		}
		s.start(now)
		s.mu.Unlock()
		return true
	}
	filled := s.flying >= s.brake.window
	r.failed = s.landAll(r.batch, r.results, r.failed, now)
	var dropped list
	s.answered = answered(err)
	if s.answered {
		s.answer(began, now, filled)
	} else {
		s.failed(err, began, now)
		if s.brake.on {
			dropped = s.drain()
		}
		if !s.brake.hung {
			s.progress = now
		}
	}
	if filled || !s.batches { // one goroutine may not be enough for what waits
		s.start(now)
	}
	why := s.brake.why
	s.mu.Unlock()
	for dropped.n > 0 {
		dropped.pop().Owner.Complete(backend.Result{Err: why}, false, now)
	}
	return false
}

// answer records an answered call that lasted from began to now. filled says that it left
// no room for another operation.
func (s *Sender) answer(began, now time.Time, filled bool) {
	s.progress = now
	took := now.Sub(began)
	slow := s.policy.window && s.trip.answers > 0 && took > slowCall+2*s.trip.shortest()
	s.trip.answer(took, now)
	if s.brake.answer(began, now, filled, slow, s.full()) {
		s.doubts.revived = now
	}
}

// failed records a call without an answer.
func (s *Sender) failed(err error, began, now time.Time) {
	if s.policy.brake || errors.Is(err, context.DeadlineExceeded) {
		s.brake.fail(err, began, now)
	} else {
		s.brake = brake{window: s.full()}
	}
}

// full returns the maximum number of operations under way.
func (s *Sender) full() int {
	if !s.batches {
		return bareDepth
	}
	return depth * batchSize
}

// drain removes and returns all acquires. Extensions stay, and go with the next probe.
func (s *Sender) drain() list {
	var out list
	s.deletions.unparkAll(&s.acquires)
	for s.acquires.n > 0 {
		out.push(s.acquires.pop())
	}
	return out
}
