package attempt

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// maxRequests is the maximum number of requests that wait in a node state, except for
// releases, of which there are few.
const maxRequests = 16

var (
	errDoubt    = errors.New("the acquisition was not answered and may still arrive")
	errBusy     = backend.MarkNotExecuted(errors.New("not sent: too many extensions of the lock wait for the node"))
	errReleased = backend.MarkNotExecuted(errors.New("not sent: the lock was released before"))
	errForgot   = errors.New("too many deletions wait for the node to answer again")
)

// tokenState is what is known about the token on a node.
type tokenState uint8

const (
	absent  tokenState = iota // it is not there and will not come
	setting                   // the operation that sets it waits or is under way
	held                      // granted, and not found missing since
	doubted                   // the outcome of setting it is unknown
)

// A nodeState is a node state: what is known about an attempt's token on one node, and the
// requests for it, one at a time and in order. The mutex of the attempt guards it, except
// where noted.
type nodeState struct {
	attempt *Attempt
	member  *member.Member
	index   int

	ticketed   bool       // the current operation names the ticket of the local queue
	tombstoned bool       // it adds a tombstone, so that no later vote is granted
	apart      bool       // only the lock is named: its queue is on another server for now
	token      tokenState // what is known about the token
	missing    bool       // the last extension has not found the token
	maybeDel   bool       // a deletion with an unknown outcome was sent
	cleaning   bool       // counted as a cleanup until the token is gone
	forgot     bool       // a deletion was given up, and this is not reported yet
	busy       bool       // current waits, is under way, or will be repeated
	resent     bool       // current was sent a second time
	shown      bool       // the node has shown before the current acquire that it deletes, if the lock was free then
	again      bool       // current is a deletion that was sent before

	released atomic.Bool // the attempt is released: an acquire that was not sent yet is not wanted

	queue   []request      // after current
	refusal *proto.Refusal // of the last acquire that was refused
	rejoin  *rejoin        // nil: none was needed
	begun   time.Time      // when current began, or was last repeated
	owed    mono.Time      // the release, which has notified nobody, is repeated until then to do so
	late    mono.Time      // a set with an unknown outcome arrives before then, or never
	gone    mono.Time      // no key sent so far lives longer

	// The sender reads these without the mutex. They are set before the item is
	// submitted, and do not change until it comes back.
	current request // while busy
	item    sender.Item
}

// clean asks the node to delete the token.
func (s *nodeState) clean(r request, now time.Time) {
	s.track(r)
	s.ask(r, now)
	s.rest()
}

// track counts the deletion as a cleanup for Group.Wait.
func (s *nodeState) track(r request) {
	s.released.Store(true)
	if !s.cleaning && (s.token != absent || r.onward || !r.stay && s.queued()) {
		s.cleaning = true
		s.attempt.nodes.cleanup.Add(1)
	}
}

// rest ends the cleanup if nothing is left to do.
func (s *nodeState) rest() {
	if !s.busy && s.token == absent {
		s.cleaned()
	}
}

// cleaned ends the cleanup if one is counted.
func (s *nodeState) cleaned() {
	if s.cleaning {
		s.cleaning = false
		s.attempt.nodes.cleanup.Add(-1)
	}
}

// queued reports whether this attempt has to remove the ticket from the node's queue.
func (s *nodeState) queued() bool {
	a := s.attempt
	return a.local != nil && a.local.Queued(s.index, a)
}

// Unwanted implements [sender.Owner].
func (s *nodeState) Unwanted() error {
	if (s.current.kind == round.Acquiring || s.current.kind == round.Raising) && s.released.Load() {
		return errReleased
	}
	return nil
}

// refused returns the details of the last refused acquire, if there are any.
func (s *nodeState) refused() proto.Refusal {
	if s.refusal == nil {
		return proto.Refusal{}
	}
	return *s.refusal
}

// ask starts r, or queues it behind the requests that the node state already has.
// Extensions that come faster than the node answers are rejected, so that they do not
// pile up.
func (s *nodeState) ask(r request, now time.Time) {
	if s.busy {
		if r.kind == round.Extending && len(s.queue) >= maxRequests {
			r.round.Count(s.index, round.Vote{Outcome: round.Failed, Err: errBusy}, now)
			return
		}
		s.queue = append(s.queue, r)
		return
	}
	s.begin(r, now)
}

// begin starts r, and submits its operation if one has to be sent.
func (s *nodeState) begin(r request, now time.Time) {
	if s.prepare(r, now) {
		s.submit(now)
	}
}

// prepare makes r current, and reports whether an operation has to be sent for it.
func (s *nodeState) prepare(r request, now time.Time) bool {
	switch {
	case isRejoin(r) && (s.attempt.gone || !s.lacks() || s.rejoin.ends.Past(s.attempt.nodes.Config.Clock.At(now))):
		// While it waited, an extension has found the token or that the lock is gone, or
		// the lease has ended.
		return false
	case r.joins && s.token != absent:
		return false // it waited for a rejoin, which may have succeeded
	case r.leaves:
		s.leave(now)
		return false
	case r.kind == round.Extending && (s.released.Load() || s.token == absent):
		r.round.Count(s.index, round.Vote{Outcome: round.Skipped}, now)
		return false
	case r.kind == round.Releasing && s.token == absent:
		r.round.Count(s.index, round.Vote{Outcome: round.Skipped}, now)
		r.round = nil
		if !r.onward && (r.stay || !s.queued()) {
			return false
		}
	}
	if r.kind == round.Raising {
		if vote, told := s.raises(r); told {
			r.round.Count(s.index, vote, now)
			return false
		}
	}
	if (r.kind == round.Extending || r.kind == round.Raising) && now.Sub(r.round.Start) > r.timeout {
		return false // it waited too long behind another request
	}
	s.busy, s.current, s.begun, s.resent, s.again = true, r, now, false, false
	s.rejoin.begin(s, r, now)
	s.apart, s.owed = false, 0
	s.item.Owner, s.item.Key, s.item.Wait = s, s.attempt.Name(), r.timeout
	s.item.Expires = mono.Of(now).Add(r.timeout)
	switch r.kind {
	case round.Acquiring:
		s.item.Class = sender.Acquiring
		if r.rejoin && s.token == doubted {
			s.rejoins().twice = true
		}
		s.token = setting
		s.maybeDel = false // that was another key: a rejoin that was taken back
	case round.Extending:
		s.item.Class = sender.Extending
		s.rejoin.tell(r.round, s.index)
	case round.Raising:
		s.item.Class = sender.Extending
	case round.Releasing:
		s.item.Class = sender.Deleting
		// A deletion is sent even if the key must have expired, to learn whether it had.
		s.gone = max(s.gone, mono.Of(now).Add(sender.CallTimeout))
		s.item.Expires = s.gone
	}
	s.item.Op = s.operation()
	return true
}

func (s *nodeState) submit(now time.Time) {
	if err := s.member.Sender.Submit(&s.item, now); err != nil {
		s.settle(backend.Result{Err: err}, false, now)
	}
}

// Leave reconsiders an operation that is about to be sent. A later attempt may have asked
// this node since the operation was submitted, and then owns the ticket. From now on, an
// acquire of the same key waits for this operation, so the decision stays valid. Leave
// implements [sender.Owner].
func (s *nodeState) Leave() {
	if s.again {
		s.repeat()
		return
	}
	if s.ticketed && s.current.kind == round.Releasing && !s.attempt.local.IsNewest(s.index, s.attempt) {
		s.item.Op = s.operation()
	}
}

// next starts the next request for this node, or ends its cleanup.
func (s *nodeState) next(now time.Time) {
	s.busy, s.current, s.item.Op = false, request{}, backend.Op{}
	for !s.busy && len(s.queue) > 0 {
		r := s.queue[0]
		s.queue[0] = request{}
		s.queue = s.queue[1:]
		s.begin(r, now)
	}
	s.rest()
}

// mayLive notes that a key of this token may live for ttl from now. With an unknown
// outcome it may be set later, but at most ttl from now.
func (s *nodeState) mayLive(ttl time.Duration, unknown bool, now time.Time) {
	until := mono.Of(now).Add(ttl)
	if unknown {
		until = until.Add(ttl)
	}
	s.gone = max(s.gone, until)
}

// repeat prepares the current deletion to be sent again.
func (s *nodeState) repeat() {
	s.attempt.mu.Lock()
	defer s.attempt.mu.Unlock()
	s.begun, s.resent, s.apart = time.Now(), false, false
	if len(s.queue) > 0 { // it has given up meanwhile, so its ticket must not come back
		s.current.stay = false
	}
	s.item.Op = s.operation()
}
