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

// settle processes a result, and starts what comes next for this node. It returns what the
// node did, unless the operation is sent once more to find that out.
func (s *nodeState) settle(r backend.Result, sent bool, now time.Time) (vote round.Vote, final bool) {
	if sent && (s.withoutQueue(r.Err, now) || s.migrating(r.Err, now) || s.resend(r.Err, now) || s.proves(r.Err, now)) {
		return vote, false
	}
	refusal := proto.Taken
	ok, err := r.OK, s.unreleasable(s.explain(r.Err))
	switch {
	case s.item.Op.Kind != backend.OpEval || err != nil:
	case s.current.kind == round.Acquiring:
		var reply proto.AcquireReply
		if reply, err = s.readAcquire(r.Reply, now); err == nil {
			ok, refusal = reply.Granted, reply.Refusal
		}
	default:
		var done int64
		done, err = r.Reply.Int(0)
		ok = done == 1
	}
	// If the node did not show that it deletes, nothing was sent that sets the token.
	futile := s.current.kind == round.Acquiring && s.item.Op.Kind == backend.OpEvalDelete
	s.resent = s.resent && !futile
	// After any other error, the effect is unknown if it may have been sent, now or before.
	unknown := err != nil && !futile && (sent && !backend.NotExecuted(err) || s.resent)
	vote.Outcome = round.Granted
	switch {
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		vote = round.Vote{Outcome: round.TimedOut, Err: s.member.Late(err, s.current.timeout)}
	case err != nil && errors.Is(err, backend.ErrQuarantined):
		vote = round.Vote{Outcome: round.Quarantined, Err: err}
	case err != nil:
		vote = round.Vote{Outcome: round.Failed, Err: s.attempt.nodes.explainCrossSlot(err)}
	case !ok && (s.current.kind == round.Acquiring || s.current.kind == round.Raising):
		vote = round.Vote{Outcome: round.Taken}
	case !ok:
		vote = round.Vote{Outcome: round.NotHeld}
	}
	if s.current.ttl > 0 && (ok || unknown || s.resent) {
		s.mayLive(s.current.ttl, unknown || s.resent, now)
		if s.current.kind == round.Acquiring && (unknown || s.resent) {
			s.late = max(s.late, mono.Of(now).Add(s.current.ttl))
		}
	}

	again := false
	switch s.current.kind {
	case round.Acquiring:
		if v := s.attempt.voting; v != nil {
			b := &v.votes[s.index]
			b.answer, b.unsure = vote, b.unsure || unknown || s.resent
		}
		switch {
		case ok:
			s.token = held
			if s.shown { // proof.go has the exception
				s.member.Keeps.Store(false)
			}
			if s.item.Op.Kind == backend.OpEval && !s.member.Releases.Load() {
				s.member.Releases.Store(true)
			}
		case unknown || s.resent || s.current.rejoin && mono.Of(now) < s.late:
			s.token = doubted // the first of two sets may still arrive
		default:
			s.token = absent
		}
		if err == nil {
			s.member.Acquired(now.Sub(s.attempt.nodes.made))
		}
		if !ok && err == nil {
			details := refusal // allocated only here
			s.refusal = &details
		}
		if ok && s.ticketed {
			s.attempt.local.SetQueued(s.index, s.attempt, false)
		}
		if ok && !s.current.rejoin {
			s.confirmed()
		}
		s.rejoin.answered(s, now)
	case round.Raising:
		if ok { // otherwise it may still be there, with a vote above the value
			s.token = held
			s.attempt.voting.votes[s.index].cast = s.current.value
		}
	case round.Extending:
		switch {
		case ok:
			s.found()
			s.token = held
			s.confirmed()
		case err == nil && (s.token == held || s.token == doubted && mono.Of(s.begun) >= s.late):
			s.token = absent
		}
		s.missing = err == nil && !ok
	case round.Releasing:
		if ok {
			s.member.Deleted()
			if s.item.Refused {
				s.item.Refused = false
				s.member.Sender.Accepts(now)
			}
		} else if s.item.Op.Kind == backend.OpEvalDelete && member.RefusesScripts(err) {
			s.member.Keeps.Store(true)
		}
		again = s.deleted(ok, err, unknown, &vote, now)
		s.rejoin.tookBack(s, unknown || s.resent, now)
		if vote.Outcome == round.Granted && s.found() {
			vote.Outcome = round.NotHeld // no extension has counted it
		}
		if err == nil && s.ticketed {
			s.attempt.local.SetQueued(s.index, s.attempt, s.current.stay)
		}
	}
	s.current.round.Count(s.index, vote, now)
	if s.current.kind == round.Extending {
		s.attempt.rejoin(s.current, now)
	}
	if again {
		s.again, s.item.Refused = true, errors.Is(err, backend.ErrRefused)
		// Nobody waits for a change of the access rules, or for what does not affect the lock.
		if s.item.Refused || s.token == absent {
			s.current.round = nil
			s.cleaned()
		}
		if ok { // it counts as deleted
			s.current.round = nil
		}
		if s.member.Sender.Doubt(&s.item, now) {
			return vote, true
		}
		s.forgot = s.token != absent
		s.token = absent
	}
	s.next(now)
	return vote, true
}

// deleted processes the result of a deletion. It completes the vote, and reports whether
// the deletion has to be repeated.
func (s *nodeState) deleted(ok bool, err error, unknown bool, vote *round.Vote, now time.Time) (again bool) {
	switch {
	case ok && s.rejoin != nil && s.rejoin.twice && mono.Of(s.begun) < s.late && !s.tombstoned:
		// The key was found and deleted, but another set may still arrive.
		s.token, again = doubted, true
	case ok || s.token == absent: // if absent, it was only about the ticket
		s.token = absent
	case err == nil && s.token == doubted && mono.Of(s.begun) < s.late && !s.tombstoned:
		// Nothing was found. That proves nothing, because the set may still arrive.
		vote.Err = errDoubt
		again = true
	case err == nil:
		if s.maybeDel { // an earlier deletion without an answer has done it
			vote.Outcome = round.Granted
		}
		s.token = absent
	default: // also after a refusal, because a password or a right may be corrected
		again = true
	}
	if s.token == absent && mono.Of(now) < s.owed {
		again = s.apart || err != nil
	}
	s.maybeDel = s.maybeDel || unknown
	if again && mono.Of(now) > s.gone {
		s.token, again = absent, false
	}
	return again
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
