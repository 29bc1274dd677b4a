package sender

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// leastPatience is the shortest time after which a call is lost: with short TTLs callers
// wait for less, and that alone says nothing about a connection.
const leastPatience = 50 * time.Millisecond

// errLost is for what a lost call carries: it may have been executed, or may be yet.
var errLost = timeoutError("the node did not answer, and its connection may be dead")

// patience returns for how long a call may be under way before it is lost: as long as
// callers wait, but at least twice as long as the last call, so that a slow node does not
// lose its connections for that.
func (s *Sender) patience() time.Duration {
	return max(s.wait, 2*max(s.trip.last, s.trip.round), leastPatience)
}

// maxLost returns how many calls may be lost and not yet back, so also how many more
// goroutines a node that hangs can hold. The probe after the first loss shows whether a new
// connection helps. It is lost only for an extension, which may be the last one before its
// lock expires.
func (s *Sender) maxLost() int {
	switch {
	case s.brake.hung && s.extends.n == 0:
		return 0
	case !s.batches:
		return bareDepth
	}
	return 2 * depth
}

// overdue returns when the oldest call under way is lost, and whether it may be.
func (s *Sender) overdue() (at time.Time, any bool) {
	// The first answer takes longer, because a connection has to be made.
	if s.reconnecter == nil || len(s.under) == 0 || s.trip.answers == 0 || s.lost >= s.maxLost() {
		return at, false
	}
	return s.under[0].began.Add(s.patience()), true
}

// lose stops counting on the calls that have been under way for too long. A firewall may
// have forgotten their connections, and then nothing comes until the driver gives up,
// which takes seconds. So others may begin beside them, on new connections. A node that
// cannot be told to make new ones loses no calls.
//
// What a lost call carries and may run twice, extensions and deletions, is completed at
// once, so that its owner can have it sent again. An acquire may not: it completes when
// the call returns. An answer that still comes counts as any other.
func (s *Sender) lose(now time.Time) {
	at, any := s.overdue()
	if !any || at.After(now) {
		return
	}
	oldest := s.under[0].began
	limit, most := now.Add(-s.patience()), s.maxLost()
	var unanswered []*Item
	kept := s.under[:0]
	key := ""
	for _, r := range s.under {
		if s.lost >= most || r.began.After(limit) || !r.written.Load() {
			kept = append(kept, r)
			continue
		}
		key = r.batch[0].Key
		unanswered = s.leaveBehind(r, unanswered)
	}
	clear(s.under[len(kept):])
	lost := len(s.under) - len(kept)
	s.under = kept
	if lost == 0 {
		return
	}
	if !s.progress.After(oldest) { // else the others are answered
		s.answered = false
		s.brake.hang(now)
	}
	s.progress = now
	s.reconnecter.Reconnect(key)
	if len(unanswered) > 0 {
		go s.giveUp(unanswered)
	}
}

// quarantinePause is how often a quarantine has connections replaced at most.
const quarantinePause = time.Second

// moved has the node use new connections if the server answered that it is in quarantine.
// It may be another one than before, to which the node's name leads now, and then others of
// the node's connections still lead to the old one, which grants locks all the same.
func (s *Sender) moved(key string, err error, now time.Time) {
	if s.reconnecter == nil || !errors.Is(err, backend.ErrQuarantined) || now.Sub(s.replaced) < quarantinePause {
		return
	}
	s.replaced = now
	s.reconnecter.Reconnect(key)
}

// leaveBehind takes a call off all counts, and returns the items with those that are no
// longer the call's.
func (s *Sender) leaveBehind(r *room, unanswered []*Item) []*Item {
	r.lost = true
	s.lost++
	s.calls--
	s.flying -= len(r.batch)
	for i, it := range r.batch {
		switch it.Class {
		case Acquiring:
			continue
		case Deleting:
			s.flyingDeletes--
		}
		unanswered = append(unanswered, it)
		r.batch[i] = nil
	}
	return unanswered
}

// giveUp completes items that were not answered.
func (s *Sender) giveUp(items []*Item) {
	now := time.Now()
	var r room
	s.mu.Lock()
	for _, it := range items {
		if it.Class == Deleting {
			r.failed = append(r.failed, s.deletions.lift(it))
		}
	}
	s.mu.Unlock()
	for _, it := range items {
		it.Owner.Complete(backend.Result{Err: errLost}, true, now)
	}
	s.settle(&r, now)
}

// begun notes that the call of r is about to be made. It is lost if that takes too long.
func (s *Sender) begun(r *room, now time.Time) {
	r.began, r.lost = now, false
	r.written.Store(false)
	s.under = append(s.under, r)
	s.watch(now)
}

// ended notes that the call of r has returned, and whether it had been lost.
func (s *Sender) ended(r *room) (lost bool) {
	for i, u := range s.under {
		if u == r {
			n := len(s.under) - 1
			copy(s.under[i:], s.under[i+1:])
			s.under[n] = nil
			s.under = s.under[:n]
			break
		}
	}
	return r.lost
}

// watch has the oldest call looked at when it is lost.
func (s *Sender) watch(now time.Time) {
	at, any := s.overdue()
	if !any {
		return
	}
	if !at.After(now) { // it is not written yet
		at = now.Add(leastPatience)
	}
	s.startAt(at, now)
}
