package quorum

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// seatQueue is how many requests wait at a seat at most, but for releases, of
// which there are few.
const seatQueue = 16

var (
	errDoubt    = errors.New("the acquisition was not answered and may still arrive")
	errBusy     = backend.MarkNotExecuted(errors.New("not sent: too many extensions of the lock wait for the node"))
	errReleased = backend.MarkNotExecuted(errors.New("not sent: the lock was released before"))
	errForgot   = errors.New("too many deletions wait for the node to answer again")
)

// tokenState is what is known of the attempt's token on a node.
type tokenState uint8

const (
	absent  tokenState = iota // it is not there and will not come
	setting                   // the operation that sets it is queued or under way
	held                      // it was granted, and has not been found missing
	doubted                   // the outcome of setting it is unknown
)

// A seat is one node's place in an attempt: what is known of the token there,
// and the requests for it, one at a time and in order. It is guarded by the
// mutex of its attempt, but for what says otherwise.
type seat struct {
	attempt *Attempt
	member  *member
	index   int

	ticketed bool          // the current operation names the ticket of the line
	buried   bool          // it puts up a tombstone: no vote that comes later is granted
	apart    bool          // the current request names the lock alone, because its queue is on another server for now
	refusal  proto.Refusal // of the last acquire, if it was refused

	token    tokenState
	missing  bool // … but the last extension has not found it
	maybeDel bool // a deletion was sent whose outcome is unknown
	cleaning bool // counted as a cleanup until the token is gone
	forgot   bool // a deletion was given up, which is to be reported

	busy   bool      // current is queued, under way, or waits to be repeated
	queue  []request // after current
	begun  time.Time // when current began, or was repeated
	resent bool      // current was sent a second time
	again  bool      // current is a deletion that was sent before
	owed   time.Time // until then the release, which has notified nobody, is repeated to do so
	late   time.Time // a set of unknown outcome arrives before, or never
	gone   time.Time // no key that was sent so far lives longer

	rejoin *rejoin // nil: there was no need for one

	// For the sender, which reads them without the mutex: they are set before the item
	// is submitted, and not changed until it has come back.
	current request // while busy
	item    sender.Item

	released atomic.Bool // the attempt is; an acquire not yet sent is not to be
}

// clean asks the seat to delete the token.
func (s *seat) clean(r request, now time.Time) {
	s.track(r)
	s.ask(r, now)
	s.rest()
}

// track makes the seat's deletion a cleanup that Group.Wait waits for.
func (s *seat) track(r request) {
	s.released.Store(true)
	if !s.cleaning && (s.token != absent || r.onward || !r.stay && s.queued()) {
		s.cleaning = true
		s.attempt.group.cleanup.add(1)
	}
}

// rest ends the cleanup if nothing is left to be done.
func (s *seat) rest() {
	if !s.busy && s.token == absent {
		s.cleaned()
	}
}

// cleaned ends the cleanup that is counted, if one is.
func (s *seat) cleaned() {
	if s.cleaning {
		s.cleaning = false
		s.attempt.group.cleanup.add(-1)
	}
}

// queued reports whether the seat has to take the line's ticket out of the queue
// of its node.
func (s *seat) queued() bool {
	a := s.attempt
	return a.line != nil && a.line.queued(s.index, a)
}

// Unwanted implements [sender.Owner].
func (s *seat) Unwanted() error {
	if (s.current.kind == acquiring || s.current.kind == raising) && s.released.Load() {
		return errReleased
	}
	return nil
}

// ask lets r follow what the seat has under way. Extensions that come faster
// than the node answers do not pile up.
func (s *seat) ask(r request, now time.Time) {
	if s.busy {
		if r.kind == extending && len(s.queue) >= seatQueue {
			r.round.vote(s.index, Vote{Outcome: Failed, Err: errBusy}, now)
			return
		}
		s.queue = append(s.queue, r)
		return
	}
	s.begin(r, now)
}

// begin takes r, now, and submits its operation if there is one to be sent.
func (s *seat) begin(r request, now time.Time) {
	if s.prepare(r, now) {
		s.submit(now)
	}
}

// prepare makes r current, and reports whether there is anything to send for
// it.
func (s *seat) prepare(r request, now time.Time) bool {
	switch {
	case isRejoin(r) && (s.attempt.gone || !s.lacks() || s.rejoin.ends.Past(s.attempt.group.cfg.Clock.at(now))):
		return false // it waited, and an extension has found the token meanwhile, or that the lock is gone; or the lease is over
	case r.joins && s.token != absent:
		return false // it waited for a rejoin, which was not refused
	case r.kind == extending && (s.released.Load() || s.token == absent):
		r.round.vote(s.index, Vote{Outcome: Skipped}, now)
		return false
	case r.kind == releasing && s.token == absent:
		r.round.vote(s.index, Vote{Outcome: Skipped}, now)
		r.round = nil
		if !r.onward && (r.stay || !s.queued()) {
			return false
		}
	}
	if r.kind == raising {
		if vote, told := s.raises(r); told {
			r.round.vote(s.index, vote, now)
			return false
		}
	}
	if (r.kind == extending || r.kind == raising) && now.Sub(r.round.start) > r.timeout {
		return false // it waited behind another request for too long
	}
	s.busy, s.current, s.begun, s.resent, s.again = true, r, now, false, false
	s.rejoin.begin(s, r, now)
	s.apart, s.owed = false, time.Time{}
	s.item.Owner, s.item.Key, s.item.Wait = s, s.attempt.key, r.timeout
	s.item.Expires = now.Add(r.timeout)
	switch r.kind {
	case acquiring:
		s.item.Class = sender.Acquiring
		if r.rejoin && s.token == doubted {
			s.rejoins().twice = true
		}
		s.token = setting
		s.maybeDel = false // that was about another key: a rejoin that was taken back
	case extending:
		s.item.Class = sender.Extending
		s.rejoin.tell(r.round, s.index)
	case raising:
		s.item.Class = sender.Extending
	case releasing:
		s.item.Class = sender.Deleting
		// It is sent even if the key must have expired, to learn whether it had.
		s.gone = latest(s.gone, now.Add(CallTimeout))
		s.item.Expires = s.gone
	}
	s.item.Op = s.operation()
	return true
}

func (s *seat) submit(now time.Time) {
	if err := s.member.sender.Submit(&s.item, now); err != nil {
		s.settle(backend.Result{Err: err}, false, now)
	}
}

// Leave looks once more at an operation that is about to leave: an acquire of its key
// that comes from now on waits for it, but a later attempt may have asked since it was
// submitted, and has the ticket now. It implements [sender.Owner].
func (s *seat) Leave() {
	if s.again {
		s.repeat()
		return
	}
	if s.ticketed && s.current.kind == releasing && !s.attempt.line.speaks(s.index, s.attempt) {
		s.item.Op = s.operation()
	}
}

// Complete takes the outcome of the seat's operation from the sender. Sent says
// whether it was sent at all.
func (s *seat) Complete(r backend.Result, sent bool, now time.Time) {
	if sent {
		s.member.learn(&s.item.Op, r.Err)
	}
	// What is told is told with nothing locked, and before the cleanup counts as
	// over.
	switch {
	case sent && s.cannotQueue(r.Err):
		s.member.queueing.fail(r.Err)
	case s.current.kind == releasing && len(r.Reply) > 1:
		if reply, err := proto.ReadRelease(r.Reply); err == nil {
			s.notifiedNobody(reply)
		}
	case s.current.kind == releasing && !s.again && errors.Is(r.Err, backend.ErrRefused):
		if report := s.attempt.group.cfg.Abandoned; report != nil && s.member.refuses.due(now) {
			report(s.member.name.String(), s.attempt.key, r.Err)
		}
	}
	s.attempt.mu.Lock()
	s.settle(r, sent, now)
	forgot := s.forgot
	s.forgot = false
	s.attempt.mu.Unlock()
	if report := s.attempt.group.cfg.Abandoned; forgot && report != nil && s.member.forgot.due(now) {
		report(s.member.name.String(), s.attempt.key, errForgot)
	}
}

// settle takes an outcome, and goes on to what comes next on this seat.
func (s *seat) settle(r backend.Result, sent bool, now time.Time) {
	if sent && (s.withoutQueue(r.Err, now) || s.migrating(r.Err, now) || s.resend(r.Err, now) || s.proves(r.Err, now)) {
		return
	}
	refusal := proto.Taken
	ok, err := r.OK, s.unproven(s.explain(r.Err))
	switch {
	case s.item.Op.Kind != backend.OpEval || err != nil:
	case s.current.kind == acquiring:
		var reply proto.AcquireReply
		if reply, err = s.readAcquire(r.Reply, now); err == nil {
			ok, refusal = reply.Granted, reply.Refusal
		}
	default:
		var done int64
		done, err = r.Reply.Int(0)
		ok = done == 1
	}
	// What an operation left behind is unknown if it failed after it may have
	// been sent, this time or the time before.
	unknown := err != nil && (sent && !backend.NotExecuted(err) || s.resent)
	vote := Vote{Outcome: Granted}
	switch {
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		vote = Vote{Outcome: TimedOut, Err: s.member.late(err, s.current.timeout)}
	case err != nil && errors.Is(err, backend.ErrQuarantined):
		vote = Vote{Outcome: Quarantined, Err: err}
	case err != nil:
		vote = Vote{Outcome: Failed, Err: s.attempt.group.unjudged(err)}
	case !ok && (s.current.kind == acquiring || s.current.kind == raising):
		vote = Vote{Outcome: Taken}
	case !ok:
		vote = Vote{Outcome: NotHeld}
	}
	if s.current.ttl > 0 && (ok || unknown || s.resent) {
		s.mayLive(s.current.ttl, unknown || s.resent, now)
		if s.current.kind == acquiring && (unknown || s.resent) {
			s.late = latest(s.late, now.Add(s.current.ttl))
		}
	}

	again := false
	switch s.current.kind {
	case acquiring:
		if v := s.attempt.voting; v != nil {
			b := &v.votes[s.index]
			b.answer, b.unsure = vote, b.unsure || unknown || s.resent
		}
		switch {
		case ok:
			s.token = held
		case unknown || s.resent || s.current.rejoin && now.Before(s.late):
			s.token = doubted // the first of two sets may still arrive
		default:
			s.token = absent
		}
		if err == nil {
			s.member.acquires.Store(int64(now.Sub(s.attempt.group.made)))
		}
		if !ok && err == nil {
			s.refusal = refusal
		}
		if ok && s.ticketed {
			s.attempt.line.stands(s.index, s.attempt, false)
		}
		if ok && !s.current.rejoin {
			s.confirmed()
		}
		s.rejoin.answered(s, now)
	case raising:
		if ok { // else it may be there all the same, with a vote above the value
			s.token = held
			s.attempt.voting.votes[s.index].cast = s.current.value
		}
	case extending:
		switch {
		case ok:
			s.found()
			s.token = held
			s.confirmed()
		case err == nil && (s.token == held || s.token == doubted && !s.begun.Before(s.late)):
			s.token = absent
		}
		s.missing = err == nil && !ok
	case releasing:
		if ok {
			s.member.refuses.settled()
			if s.item.Refused {
				s.item.Refused = false
				s.member.sender.Accepts(now)
			}
		}
		again = s.deleted(ok, err, unknown, &vote, now)
		s.rejoin.tookBack(s, unknown || s.resent, now)
		if vote.Outcome == Granted && s.found() {
			vote.Outcome = NotHeld // no extension has counted it
		}
		if err == nil && s.ticketed {
			s.attempt.line.stands(s.index, s.attempt, s.current.stay)
		}
	}
	s.current.round.vote(s.index, vote, now)
	if s.current.kind == extending {
		s.attempt.rejoin(s.current, now)
	}
	if again {
		s.again, s.item.Refused = true, errors.Is(err, backend.ErrRefused)
		if s.item.Refused { // nobody waits for somebody to change the rules of access
			s.current.round = nil
			s.cleaned()
		}
		if s.token == absent { // what is left to do changes nothing about the lock
			s.current.round = nil
			s.cleaned()
		}
		if ok { // it counts as deleted
			s.current.round = nil
		}
		if s.member.sender.Doubt(&s.item, now) {
			return
		}
		s.forgot = s.token != absent
		s.token = absent
	}
	s.next(now)
}

// deleted takes the outcome of a deletion. It completes the vote, and reports
// whether the deletion is to be repeated.
func (s *seat) deleted(ok bool, err error, unknown bool, vote *Vote, now time.Time) (again bool) {
	switch {
	case ok && s.rejoin != nil && s.rejoin.twice && s.begun.Before(s.late) && !s.buried:
		// The key was found, but one more may still arrive.
		s.token, again = doubted, true
	case ok || s.token == absent: // it was not about the token, but about the ticket
		s.token = absent
	case err == nil && s.token == doubted && s.begun.Before(s.late) && !s.buried:
		// Nothing was found, which proves nothing: the set may still arrive.
		vote.Err = errDoubt
		again = true
	case err == nil:
		if s.maybeDel { // the one that was not answered has done it
			vote.Outcome = Granted
		}
		s.token = absent
	default: // also if the node refuses, since a password or a right may be set right
		again = true
	}
	if s.token == absent && now.Before(s.owed) {
		again = s.apart || err != nil
	}
	s.maybeDel = s.maybeDel || unknown
	if again && now.After(s.gone) {
		s.token, again = absent, false
	}
	return again
}

// next begins what the seat is asked for after the current request, or ends
// its cleanup.
func (s *seat) next(now time.Time) {
	s.busy, s.current, s.item.Op = false, request{}, backend.Op{}
	for !s.busy && len(s.queue) > 0 {
		r := s.queue[0]
		s.queue[0] = request{}
		s.queue = s.queue[1:]
		s.begin(r, now)
	}
	s.rest()
}

// resend sends the current operation once more if its connection broke before
// the answer, which is often no more than a connection that was idle for too
// long, and reports whether it did. It never does so after a time-out. Deletions and
// extensions name their token and may run twice; a set goes as the script that
// knows its own token, on a node that has scripts.
func (s *seat) resend(err error, now time.Time) bool {
	if s.resent || !cutOff(err) {
		return false
	}
	switch s.current.kind {
	case acquiring:
		if !s.member.queueing.scripts || s.released.Load() {
			return false
		}
		if s.item.Op.Kind == backend.OpSetNX {
			s.item.Op = s.acquireScript()
		}
	case releasing:
		s.maybeDel = true
		if s.again { // it will be repeated anyway
			return false
		}
		s.item.Op = s.operation()
	}
	if s.member.sender.Submit(&s.item, now) != nil { // the first error says more than this one
		return false
	}
	s.resent = true
	return true
}

// cutOff reports whether err, with which an operation ended, leaves open whether it ran
// and is no time-out: as a rule, its connection broke.
func cutOff(err error) bool {
	return err != nil && !backend.NotExecuted(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// mayLive notes that a key of ours may have got this time to live until now. If
// the outcome is unknown it may get it yet, but no later than after the same
// time again.
func (s *seat) mayLive(ttl time.Duration, unknown bool, now time.Time) {
	until := now.Add(ttl)
	if unknown {
		until = until.Add(ttl)
	}
	s.gone = latest(s.gone, until)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// repeat prepares the current deletion to be sent once more.
func (s *seat) repeat() {
	s.attempt.mu.Lock()
	defer s.attempt.mu.Unlock()
	s.begun, s.resent, s.apart = time.Now(), false, false
	if len(s.queue) > 0 { // it has given up meanwhile: its ticket is not to come back each time
		s.current.stay = false
	}
	s.item.Op = s.operation()
}
