package sender

import (
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// batchSize is how many operations go in one call at most. More would overrun their
	// deadline while most of them had been executed.
	batchSize = 512

	// So many deletions may be under way, and one more for each deletePace of a round
	// trip, so that extensions and acquires do not wait at the server behind more of
	// them: these are in no hurry.
	deleteShare = 64
	deletePace  = 20 * time.Microsecond

	// One of so many places in a call is kept for acquires, and one for deletions, so that
	// extensions do not starve them. What extensions leave, these two share.
	keptPart = 8
)

// A policy is how a sender shares its calls. Tests have others, to show what each part
// is for.
type policy struct {
	classes bool // extensions first, and deletions only a share
	brake   bool // for what fails otherwise than by a time-out
	window  bool // on the operations under way, after an outage and when calls take too long
}

var standard = policy{classes: true, brake: true, window: true}

// A room is where a sender puts together what a call sends. It is used again and again,
// by one goroutine at a time: nobody has it after the call.
type room struct {
	batch   []*Item
	dropped []drop
	ops     []backend.Op
	results []backend.Result
	failed  []*keyDeletions // of the deletions whose owners may have them sent again at once

	// Of the call.
	began   time.Time
	lost    bool        // guarded by the sender's mutex
	written atomic.Bool // ops has what is sent
}

// drop is an operation that is not sent, and why.
type drop struct {
	item *Item
	why  error
}

// clear forgets what was sent, and keeps nothing of it alive.
func (r *room) clear() {
	clear(r.batch)
	clear(r.dropped)
	clear(r.ops)
	clear(r.results)
	r.batch, r.dropped, r.ops, r.results = r.batch[:0], r.dropped[:0], r.ops[:0], r.results[:0]
}

// room returns an empty one.
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

// next takes from the queues what the next call sends, and what is not to be sent any
// more, and returns whether there is either. If there is not, and the caller is to leave
// then, it has taken the call off the count.
func (s *Sender) next(r *room, now time.Time, leave bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(r, now)
	if some := len(r.batch)+len(r.dropped) > 0; !some {
		if leave {
			s.calls--
			s.start(now) // what waits for a moment
		}
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

// fly notes that an operation is about to be under way.
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
		return 0 // others are probing, or it is too early for that
	case s.brake.on && s.batches:
		return max(1, min(s.extends.n, minWindow)) // an extension that is not sent may cost a lock
	case s.brake.on:
		return 1
	case !s.batches:
		return s.brake.room(s.flying, 1)
	}
	return s.brake.room(s.flying, batchSize)
}

// take fills r.
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

// takeFrom takes items from a list until the call has so many.
func (s *Sender) takeFrom(l *list, r *room, most int, now time.Time) {
	for l.n > 0 && len(r.batch) < most {
		it := l.pop()
		if it.Class == Deleting {
			s.deletions.take(it)
		}
		s.add(r, it, now)
	}
}

// takeAcquires takes acquires until the call has so many operations, each behind the
// deletions of its key that wait.
func (s *Sender) takeAcquires(r *room, most int, now time.Time) {
	for s.acquires.n > 0 && len(r.batch) < most {
		it := s.acquires.pop()
		k := s.deletions.byKey[it.Key]
		if k != nil && k.flying > 0 {
			s.deletions.park(k, it)
			continue
		}
		for k != nil && k.waiting != nil && len(r.batch) < most {
			d := k.waiting
			s.deletes.remove(d)
			s.deletions.take(d)
			s.add(r, d, now)
		}
		if len(r.batch) >= most {
			s.acquires.unpop(it)
			break
		}
		s.add(r, it, now)
	}
}

// add puts an item into the call, or drops it.
func (s *Sender) add(r *room, it *Item, now time.Time) {
	why := it.Owner.Unwanted()
	if why == nil && now.Add(s.margin(it)).After(it.Expires) {
		why = errLate
	}
	if why != nil {
		if it.Class == Deleting {
			s.deletions.drop(it)
		}
		r.dropped = append(r.dropped, drop{it, why})
		return
	}
	r.batch = append(r.batch, it)
}

// margin returns how long before it expires an operation has to leave. The caller of an
// acquire does not wait for an answer that comes later.
func (s *Sender) margin(it *Item) time.Duration {
	if it.Class != Acquiring {
		return 0
	}
	return min(2*s.trip.round, it.Wait/2)
}
