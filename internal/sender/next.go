package sender

import (
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
)

const (
	// batchSize is the maximum number of operations in one call. A larger call could miss
	// its deadline after most of its operations had been executed.
	batchSize = 512

	// The number of deletions under way is limited to deleteShare, plus one for each
	// deletePace of a round trip. Otherwise extensions and acquires would wait at the
	// server behind them, and deletions are in no hurry.
	deleteShare = 64
	deletePace  = 20 * time.Microsecond

	// 1/keptPart of a call is kept for acquires, and as much for deletions, so that
	// extensions do not starve them. Acquires and deletions share what extensions do not
	// use.
	keptPart = 8
)

// A policy is how a sender shares its calls among operations. Tests turn parts of it off
// to show their effect.
type policy struct {
	classes bool // extensions first, and only a share for deletions
	brake   bool // also after failures other than time-outs
	window  bool // limit operations under way after an outage and when calls take too long
}

var standard = policy{classes: true, brake: true, window: true}

// A room is where a sender assembles a call. It is reused, by one goroutine at a time,
// and must not be used after the call.
type room struct {
	batch   []*Item
	dropped []drop
	ops     []backend.Op
	results []backend.Result
	failed  []*parking // of deletions whose owners may have them sent again at once

	// The call.
	began   time.Time
	wait    time.Duration // for which the most patient caller waits
	lost    bool          // guarded by the sender's mutex
	written atomic.Bool   // ops is complete, so the items are no longer read
}

// A drop is an operation that is not sent, and why.
type drop struct {
	item *Item
	why  error
}

// clear empties r, without keeping anything alive that was sent.
func (r *room) clear() {
	clear(r.batch)
	clear(r.dropped)
	clear(r.ops)
	clear(r.results)
	clear(r.failed)
	r.batch, r.dropped, r.ops, r.results, r.failed = r.batch[:0], r.dropped[:0], r.ops[:0], r.results[:0], r.failed[:0]
}

// room returns an empty room.
func (g *Shared) room() *room {
	if r, ok := g.rooms.Get().(*room); ok {
		return r
	}
	return new(room)
}

// leave takes r back.
func (g *Shared) leave(r *room) {
	r.clear()
	g.rooms.Put(r)
}

// next fills r with what the next call sends and with what is dropped, and reports
// whether there is either. If there is neither, it also subtracts the caller from the calls
// under way.
func (s *Sender) next(r *room, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(r, now)
	if some := len(r.batch)+len(r.dropped) > 0; !some {
		s.over()
		s.start(now) // sets the timer if something waits
		return false
	}
	for _, it := range r.batch {
		s.fly(it)
	}
	if len(r.batch) > 0 {
		s.newest = now
		s.begun(r, now)
	}
	return true
}

// fly notes that an operation is about to be sent.
func (s *Sender) fly(it *Item) {
	s.flying++
	if it.Class == Deleting {
		s.flyingDeletes++
		s.deletions.fly(it)
	}
}

// most returns how many operations the next call may carry.
func (s *Sender) most(now time.Time) int {
	switch {
	case s.brake.on && (s.calls > 1 || now.Before(s.brake.probe)):
		return 0 // another call is the probe, or it is too early for one
	case s.brake.on && s.batches:
		return max(1, min(s.extends.n, minWindow)) // an extension that is not sent may cost a lock
	case s.brake.on:
		return 1
	case !s.batches:
		return s.brake.room(s.flying, 1)
	}
	return s.brake.room(s.flying, batchSize)
}

// take fills r from the queues, without counting anything as sent.
func (s *Sender) take(r *room, now time.Time) {
	most := s.most(now)
	if most == 0 {
		return
	}
	if s.brake.on {
		var expired list
		s.doubts.expired(now, &expired)
		for expired.n > 0 {
			r.dropped = append(r.dropped, drop{expired.pop(), errLate})
		}
	}
	patient := s.patient()
	kept := most / keptPart
	deletes := min(s.deletes.n, patient)
	s.takeFrom(&s.extends, r, most-min(s.acquires.n, kept)-min(deletes, kept), now)
	left := most - len(r.batch)
	s.takeFrom(&s.deletes, r, len(r.batch)+min(deletes, left-min(s.acquires.n, left/2)), now)
	s.takeAcquires(r, most, now)
	for n := deletes; n < patient && len(r.batch) < most; n++ {
		it := s.doubts.pop(now, s.brake.on)
		if it == nil {
			break
		}
		s.add(r, it, now)
	}
}

// patient returns how many more deletions may be under way.
func (s *Sender) patient() int {
	if !s.policy.classes {
		return 1 << 30
	}
	share := min(deleteShare+int(s.trip.shortest()/deletePace), batchSize)
	return max(share-s.flyingDeletes, 0)
}

// takeFrom moves items from a list to the call until the call has most operations.
func (s *Sender) takeFrom(l *list, r *room, most int, now time.Time) {
	for l.n > 0 && len(r.batch) < most {
		it := l.pop()
		if it.Class == Deleting {
			s.deletions.take(it)
		}
		s.add(r, it, now)
	}
}

// takeAcquires moves acquires to the call until it has most operations. Waiting deletions
// of an acquire's key go in front of the acquire.
func (s *Sender) takeAcquires(r *room, most int, now time.Time) {
	for s.acquires.n > 0 && len(r.batch) < most {
		it := s.acquires.pop()
		if s.deletions.blocks(it.Key) {
			s.deletions.park(it)
			continue
		}
		for d := s.deletions.find(it.Key, waiting); d != nil && len(r.batch) < most; {
			next := d.sibling.find(it.Key, waiting)
			s.deletes.remove(d)
			s.deletions.take(d)
			s.add(r, d, now)
			d = next
		}
		if len(r.batch) >= most {
			s.acquires.unpop(it)
			break
		}
		s.add(r, it, now)
	}
}

// add adds an item to the call, or drops it.
func (s *Sender) add(r *room, it *Item, now time.Time) {
	why := it.Owner.Unwanted()
	if why == nil && mono.Of(now).Add(s.margin(it)) > it.Expires {
		why = errLate
	}
	if why != nil {
		if it.Class == Deleting {
			s.deletions.leave(it)
		}
		r.dropped = append(r.dropped, drop{it, why})
		return
	}
	r.batch = append(r.batch, it)
}

// margin returns how long before its expiry an operation must be sent. An acquire needs
// time for the answer, because its caller does not wait for a later one.
func (s *Sender) margin(it *Item) time.Duration {
	if it.Class != Acquiring {
		return 0
	}
	return min(2*s.trip.round, it.Wait/2)
}
