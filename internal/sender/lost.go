package sender

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// leastPatience is the shortest time after which a call is lost. With short TTLs callers
// wait for less time, but that says nothing about a connection.
const leastPatience = 50 * time.Millisecond

// errLost is the result of operations in a lost call. They may have been executed, or may
// still be.
var errLost = timeoutError("the node did not answer, and its connection may be dead")

// patience returns how long a call may be under way before it is lost, if the most patient
// of its callers waits for that long. It is at least twice as long as the last call, so
// that a node does not lose its connections only because it is slow.
func (s *Sender) patience(wait time.Duration) time.Duration {
	return max(wait, 2*max(s.trip.last, s.trip.round), leastPatience)
}

// end returns when the call of r is lost.
func (s *Sender) end(r *room) time.Time { return r.began.Add(s.patience(r.wait)) }

// maxLost returns how many calls may be lost and not have returned, and so how many more
// goroutines a node that hangs can hold.
//
// The probe after the first loss shows whether a new connection helps. A probe is lost
// only if an extension waits, because that may be the last one before its lock expires.
func (s *Sender) maxLost() int {
	switch {
	case s.brake.hung && s.extends.n == 0:
		return 0
	case !s.batches:
		return bareDepth
	}
	return 2 * depth
}

// overdue returns when the first of the calls under way is lost, and whether one can be.
func (s *Sender) overdue() (at time.Time, any bool) {
	// The first answer takes longer, because it includes connecting.
	if s.reconnecter == nil || len(s.under) == 0 || s.trip.answers == 0 || s.lost >= s.maxLost() {
		return at, false
	}
	at = s.end(s.under[0])
	for _, r := range s.under[1:] {
		if end := s.end(r); end.Before(at) {
			at = end
		}
	}
	return at, true
}

// lose gives up calls that have been under way for too long, so that others can begin, on
// new connections. A firewall may have forgotten the old connections. Then nothing
// arrives on them until the driver gives up, which takes seconds. If a node cannot be
// told to make new connections, its calls are never lost.
//
// Operations in a lost call that may run twice, extensions and deletions, are completed
// at once, so that their owners can have them sent again. An acquire may not run twice,
// so it completes when the call returns. A late answer counts like any other.
func (s *Sender) lose(now time.Time) {
	if len(s.under) == 0 || now.Sub(s.under[0].began) < leastPatience {
		return // the usual case
	}
	at, any := s.overdue()
	if !any || at.After(now) {
		return
	}
	var oldest time.Time // begin of the first lost call
	most := s.maxLost()
	var unanswered []*Item
	kept := s.under[:0]
	key := ""
	for _, r := range s.under {
		if s.lost >= most || s.end(r).After(now) || !r.written.Load() {
			kept = append(kept, r)
			continue
		}
		if oldest.IsZero() {
			key, oldest = r.batch[0].Key, r.began
		}
		unanswered = s.leaveBehind(r, unanswered)
	}
	clear(s.under[len(kept):])
	lost := len(s.under) - len(kept)
	s.under = kept
	if lost == 0 {
		return
	}
	if !s.progress.After(oldest) { // otherwise other calls are being answered
		s.answered = false
		s.brake.hang(now)
	}
	s.progress = now
	s.reconnecter.Reconnect(key)
	if len(unanswered) > 0 {
		go s.giveUp(unanswered)
	}
}

// quarantinePause is the minimum time between two replacements of connections because of
// a quarantine.
const quarantinePause = time.Second

// moved makes the node use new connections if the server answered that it is in
// quarantine. That server may be new: the node's name may have started to lead to it,
// while other connections of the node still lead to the old server, which continues to
// grant locks.
func (s *Sender) moved(key string, err error, now time.Time) {
	if err == nil || s.reconnecter == nil || !errors.Is(err, backend.ErrQuarantined) || now.Sub(s.replaced) < quarantinePause {
		return
	}
	s.replaced = now
	s.reconnecter.Reconnect(key)
}

// leaveBehind removes a lost call from all counts. It takes the items that may run twice
// from the call, and returns them appended to unanswered.
func (s *Sender) leaveBehind(r *room, unanswered []*Item) []*Item {
	r.lost = true
	s.lost++
	s.over()
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

// giveUp completes items of lost calls.
func (s *Sender) giveUp(items []*Item) {
	now := time.Now()
	var failed []*parking
	s.mu.Lock()
	for _, it := range items {
		if it.Class == Deleting {
			failed = append(failed, s.deletions.fail(it))
		}
	}
	s.mu.Unlock()
	for _, it := range items {
		it.Owner.Complete(backend.Result{Err: errLost}, true, now)
	}
	s.settle(failed, now)
}

// begun notes that the call of r is about to be made. The call can be lost from now on.
func (s *Sender) begun(r *room, now time.Time) {
	r.began, r.lost, r.wait = now, false, 0
	for _, it := range r.batch {
		r.wait = max(r.wait, it.Wait)
	}
	r.written.Store(false)
	s.under = append(s.under, r)
	s.watch(now)
}

// ended notes that the call of r has returned, and reports whether it had been lost.
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

// watch makes the timer fire when the first call is lost.
func (s *Sender) watch(now time.Time) {
	at, any := s.overdue()
	if !any {
		return
	}
	if !at.After(now) { // it was not lost, because it is not written yet
		at = now.Add(leastPatience)
	}
	s.startAt(at, now)
}
