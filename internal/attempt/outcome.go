package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// Complete takes the result of the operation from the sender. sent says whether it was
// sent at all.
func (s *nodeState) Complete(r backend.Result, sent bool, now time.Time) {
	if sent {
		s.member.Learn(&s.item.Op, r.Err, s.current.kind == round.Acquiring)
	}
	// Callbacks run with nothing locked, and before the cleanup counts as finished.
	releasing := s.current.kind == round.Releasing
	if sent && releasing && s.item.Op.Kind == backend.OpEvalDelete {
		s.member.Queueing.Alone(r.Err)
	}
	switch {
	case sent && s.cannotQueue(r.Err):
		s.member.Queueing.Fail(r.Err, releasing)
	case releasing && len(r.Reply) > 1:
		if reply, err := proto.ReadRelease(r.Reply); err == nil {
			s.notifiedNobody(reply)
		}
	case releasing && !s.again && errors.Is(r.Err, backend.ErrRefused):
		if report := s.attempt.nodes.Config.Abandoned; report != nil && s.member.Refuses.Due(now) {
			report(s.member.Name.String(), s.attempt.key, s.unreleasable(r.Err))
		}
	}
	s.attempt.mu.Lock()
	kind, begun := s.current.kind, s.begun
	vote, final := s.settle(r, sent, now)
	forgot := s.forgot
	s.forgot = false
	s.attempt.mu.Unlock()
	if tell := s.attempt.nodes.Config.Answered; tell != nil && sent && final {
		vote.Latency = now.Sub(begun)
		tell(Answer{Node: s.index, Kind: kind, Vote: vote})
	}
	if report := s.attempt.nodes.Config.Abandoned; forgot && report != nil && s.member.Forgot.Due(now) {
		report(s.member.Name.String(), s.attempt.key, errForgot)
	}
}

// An outcome is what the result of an operation says.
type outcome struct {
	vote    round.Vote
	ok      bool          // granted, raised, extended or deleted
	unknown bool          // it may still take effect, or has done so before its answer
	err     error         // why there is no answer
	refusal proto.Refusal // of an acquire
	now     time.Time
}

// settle processes a result, and starts what comes next for this node. It returns what the
// node did, unless the operation is sent once more to find that out.
func (s *nodeState) settle(r backend.Result, sent bool, now time.Time) (vote round.Vote, final bool) {
	if sent && (s.withoutQueue(r.Err, now) || s.migrating(r.Err, now) || s.resend(r.Err, now) || s.proves(r.Err, now)) {
		return vote, false
	}
	o := s.read(r, sent, now)
	again := false
	switch s.current.kind {
	case round.Acquiring:
		s.acquired(&o)
	case round.Raising:
		if o.ok { // otherwise it may still be there, with a vote above the value
			s.token = held
			s.attempt.voting.votes[s.index].cast = s.current.value
		}
	case round.Extending:
		s.extended(&o)
	case round.Releasing:
		again = s.deleted(&o)
	}
	s.current.round.Count(s.index, o.vote, now)
	if s.current.kind == round.Extending {
		s.attempt.rejoin(s.current, now)
	}
	if !again || !s.doubt(&o) {
		s.next(now)
	}
	return o.vote, true
}

// read reads a result, and notes how long the token may live.
func (s *nodeState) read(r backend.Result, sent bool, now time.Time) outcome {
	o := outcome{ok: r.OK, err: s.unreleasable(s.explain(r.Err)), refusal: proto.Taken, now: now}
	kind, op := s.current.kind, &s.item.Op
	switch {
	case op.Kind != backend.OpEval || o.err != nil:
	case kind == round.Acquiring:
		var reply proto.AcquireReply
		if reply, o.err = s.readAcquire(r.Reply, now); o.err == nil {
			o.ok, o.refusal = reply.Granted, reply.Refusal
		}
	default:
		var done int64
		done, o.err = r.Reply.Int(0)
		o.ok = done == 1
	}
	// If the node did not show that it deletes, nothing was sent that sets the token.
	futile := kind == round.Acquiring && op.Kind == backend.OpEvalDelete
	s.resent = s.resent && !futile
	o.unknown = s.resent || o.err != nil && !futile && sent && !backend.NotExecuted(o.err)
	switch {
	case o.err != nil && errors.Is(o.err, context.DeadlineExceeded):
		o.vote = round.Vote{Outcome: round.TimedOut, Err: s.member.Late(o.err, s.current.timeout)}
	case o.err != nil && errors.Is(o.err, backend.ErrQuarantined):
		o.vote = round.Vote{Outcome: round.Quarantined, Err: o.err}
	case o.err != nil:
		o.vote = round.Vote{Outcome: round.Failed, Err: s.attempt.nodes.explainCrossSlot(o.err)}
	case o.ok:
		o.vote.Outcome = round.Granted
	case kind == round.Acquiring || kind == round.Raising:
		o.vote.Outcome = round.Taken
	default:
		o.vote.Outcome = round.NotHeld
	}
	if s.current.ttl > 0 && (o.ok || o.unknown) {
		s.mayLive(s.current.ttl, o.unknown, now)
		if kind == round.Acquiring && o.unknown {
			s.late = max(s.late, mono.Of(now).Add(s.current.ttl))
		}
	}
	return o
}

// acquired processes the outcome of an acquire.
func (s *nodeState) acquired(o *outcome) {
	if v := s.attempt.voting; v != nil {
		b := &v.votes[s.index]
		b.answer, b.unsure = o.vote, b.unsure || o.unknown
	}
	switch {
	case o.ok:
		s.token = held
		if s.shown { // proof.go has the exception
			s.member.Keeps.Store(false)
		}
		if s.item.Op.Kind == backend.OpEval && !s.member.Releases.Load() {
			s.member.Releases.Store(true)
		}
	case o.unknown || s.current.rejoin && mono.Of(o.now) < s.late:
		s.token = doubted // the first of two sets may still arrive
	default:
		s.token = absent
	}
	if o.err == nil {
		s.member.Acquired(o.now.Sub(s.attempt.nodes.made))
	}
	if !o.ok && o.err == nil {
		details := o.refusal // allocated only here
		s.refusal = &details
	}
	if o.ok && s.ticketed {
		s.attempt.local.SetQueued(s.index, s.attempt, false)
	}
	if o.ok && !s.current.rejoin {
		s.confirmed()
	}
	s.rejoin.answered(s, o.now)
}

// extended processes the outcome of an extension.
func (s *nodeState) extended(o *outcome) {
	switch {
	case o.ok:
		s.found()
		s.token = held
		s.confirmed()
	case o.err == nil && (s.token == held || s.token == doubted && mono.Of(s.begun) >= s.late):
		s.token = absent
	}
	s.missing = o.err == nil && !o.ok
}

// deleted processes the outcome of a deletion. It completes the vote, and reports whether
// the deletion has to be repeated.
func (s *nodeState) deleted(o *outcome) (again bool) {
	if o.ok {
		s.member.Deleted()
		if s.item.Refused {
			s.item.Refused = false
			s.member.Sender.Accepts(o.now)
		}
	} else if s.item.Op.Kind == backend.OpEvalDelete && member.RefusesScripts(o.err) {
		s.member.Keeps.Store(true)
	}
	again = s.remains(o)
	s.rejoin.tookBack(s, o.unknown, o.now)
	if o.vote.Outcome == round.Granted && s.found() {
		o.vote.Outcome = round.NotHeld // no extension has counted it
	}
	if o.err == nil && s.ticketed {
		s.attempt.local.SetQueued(s.index, s.attempt, s.current.stay)
	}
	return again
}

// remains reports whether the token may still be there after a deletion, or may still come.
func (s *nodeState) remains(o *outcome) (again bool) {
	switch {
	case o.ok && s.rejoin != nil && s.rejoin.twice && mono.Of(s.begun) < s.late && !s.tombstoned:
		// The key was found and deleted, but another set may still arrive.
		s.token, again = doubted, true
	case o.ok || s.token == absent: // if absent, it was only about the ticket
		s.token = absent
	case o.err == nil && s.token == doubted && mono.Of(s.begun) < s.late && !s.tombstoned:
		// Nothing was found. That proves nothing, because the set may still arrive.
		o.vote.Err = errDoubt
		again = true
	case o.err == nil:
		if s.maybeDel { // an earlier deletion without an answer has done it
			o.vote.Outcome = round.Granted
		}
		s.token = absent
	default: // also after a refusal, because a password or a right may be corrected
		again = true
	}
	if s.token == absent && mono.Of(o.now) < s.owed {
		again = s.apart || o.err != nil
	}
	s.maybeDel = s.maybeDel || o.unknown
	if again && mono.Of(o.now) > s.gone {
		s.token, again = absent, false
	}
	return again
}

// doubt leaves it to the sender to repeat the deletion, and reports whether the sender will.
func (s *nodeState) doubt(o *outcome) bool {
	s.again, s.item.Refused = true, errors.Is(o.err, backend.ErrRefused)
	// Nobody waits for a change of the access rules, or for what does not affect the lock.
	if s.item.Refused || s.token == absent {
		s.current.round = nil
		s.cleaned()
	}
	if o.ok { // it counts as deleted
		s.current.round = nil
	}
	if s.member.Sender.Doubt(&s.item, o.now) {
		return true
	}
	s.forgot = s.token != absent
	s.token = absent
	return false
}

// resend sends the current operation once more if its connection broke before the answer,
// and reports whether it does. Often the connection was merely idle for too long. After a
// time-out it never does.
//
// Deletions and extensions name their token and may run twice. A plain set may not, so it
// is sent as the script that recognizes its own token, on nodes that run scripts.
func (s *nodeState) resend(err error, now time.Time) bool {
	if s.resent || !cutOff(err) {
		return false
	}
	switch s.current.kind {
	case round.Acquiring:
		if !s.member.Queueing.Scripts || s.released.Load() {
			return false
		}
		if s.item.Op.Kind == backend.OpSetNX {
			s.item.Op = s.acquireScript()
		}
	case round.Releasing:
		s.maybeDel = true
		if s.again { // it will be repeated anyway
			return false
		}
		s.item.Op = s.operation()
	}
	if s.member.Sender.Submit(&s.item, now) != nil { // the first error says more
		return false
	}
	s.resent = true
	return true
}

// cutOff reports whether err, the error of an operation, leaves open whether the
// operation ran, and is not a time-out. Usually the connection broke.
func cutOff(err error) bool {
	return err != nil && !backend.NotExecuted(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}
