package quorum

import (
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// operation returns how the current request is done on the seat's node. It is the
// one place where that is decided.
//
// The plain commands are the fast path: a SET NX costs a server half of what a
// script does. A script acquires where somebody waits, where the node is to see
// whether it may grant, or where it has yet to show that it can release. Every release is a script, on nodes that can: who releases
// cannot know who waits.
func (s *seat) operation() backend.Op {
	a, r := s.attempt, s.current
	s.ticketed, s.buried = false, false
	queue := s.member.queueing.works() && a.name() && !s.apart
	switch {
	case a.voting != nil && r.kind == acquiring:
		// Whoever votes does so with every acquire: a token that was set in
		// another way has no vote. There is nothing to fall back on.
		if a.inbox != nil && !r.rejoin && a.inbox.hears(s.index) {
			s.ticketed = true
			a.line.enters(s.index, a)
		}
		return s.vote()
	case r.kind == raising:
		return s.raise()
	case a.voting != nil && r.kind == extending:
		return s.prolong()
	case r.kind == extending:
		return backend.Op{Kind: backend.OpExtend, Key: a.key, Token: a.token, TTL: r.ttl}
	case r.kind == acquiring && queue && a.inbox != nil && !r.rejoin && a.inbox.hears(s.index):
		s.ticketed = true
		a.line.enters(s.index, a)
		return s.acquireScript()
	case r.kind == acquiring && (s.quarantined() || r.rejoin && s.member.queueing.scripts):
		// An acquire that was taken for lost may have arrived meanwhile, which a script tells
		// from the token of somebody else.
		return s.acquireScript()
	case r.kind == acquiring && !s.member.releases.Load():
		return s.proof()
	case r.kind == acquiring:
		return s.plainAcquire()
	case r.onward:
		a.name()
		return backend.Op{Kind: backend.OpEval, Script: lua.Release, Keys: a.names[:], Args: []string{""}}
	case !queue || r.rejoin:
		return backend.Op{Kind: backend.OpEvalDelete, Key: a.key, Token: a.token}
	}
	op := backend.Op{Kind: backend.OpEval, Script: lua.Release, Keys: a.names[:], Args: a.plain[:]}
	if a.plain[2] == "" {
		op.Args = a.plain[:1] // what is empty may be missing, and that costs less
	}
	ticket := ""
	if a.line != nil && a.line.speaks(s.index, a) {
		s.ticketed = true
		ticket = a.line.ticket
	}
	again := s.token == doubted && s.again
	switch {
	case r.stay || again && !s.ticketed:
		// A release calls wherever the lock is free. If that were done for whatever a waiter takes
		// back, or looks for once more, the called would take back as much, and call in turn.
		waited, call := "0", "0"
		if s.ticketed {
			waited = milliseconds(time.Since(a.asked))
		}
		if r.call || !r.stay {
			call = "1"
		}
		op.Script, op.Args = lua.Rollback, []string{a.token, ticket, waited, call}
	case s.ticketed:
		op.Args = []string{a.token, ticket, a.plain[2]}
	}
	return s.bury(op)
}

// notifiedNobody takes what a release or a rollback has answered besides whether it found the
// token: that it could not notify the next waiter, or that it has removed as many tickets of
// the dead as one script may and there may be more. Then it has left the lock free, and another
// release goes on from there. Each removes hundreds, so that few round trips are needed.
func (s *seat) notifiedNobody(r backend.Reply) {
	if why, err := r.Text(1); err == nil && why != "" {
		s.member.queueing.mute(why)
	}
	if more, err := r.Int(2); err == nil && more == 1 {
		a := s.attempt.group.attempt(s.attempt.key, "")
		a.mu.Lock()
		defer a.mu.Unlock()
		a.seats[s.index].clean(request{kind: releasing, onward: true}, time.Now())
	}
}

// plainAcquire returns an acquire that must not be sent again.
func (s *seat) plainAcquire() backend.Op {
	return backend.Op{Kind: backend.OpSetNX, Key: s.attempt.key, Token: s.attempt.token, TTL: s.current.ttl}
}

// acquireScript returns an acquire that may be sent again, and that queues the
// ticket, if there is one, where it is refused.
func (s *seat) acquireScript() backend.Op {
	a := s.attempt
	a.name() // which nobody has done yet where queues are refused
	op := backend.Op{Kind: backend.OpEval, Script: lua.Acquire, Keys: a.names[:1], Args: []string{a.token, milliseconds(s.current.ttl)}}
	switch {
	case s.ticketed:
		op.Keys = a.names[:]
		op.Args = append(op.Args, a.line.ticket, milliseconds(time.Since(a.asked)))
	case s.quarantined(): // what comes before has its place, and is not looked at
		op.Keys = []string{a.key, a.key}
		op.Args = append(op.Args, "", "")
	}
	return s.judged(op)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// name finds the names that scripts need, and reports whether the key can have a
// queue.
func (a *Attempt) name() bool {
	if a.names[0] == "" {
		a.names[0] = a.key
		a.names[1], _ = QueueOf(a.key)
		a.plain[0] = a.token
		if announce := a.group.cfg.Announce; announce != nil {
			a.plain[2] = announce(a.key)
		}
	}
	return a.names[1] != ""
}

// refused returns what the script that acquires said of its refusal; of a node that
// did not run one, little.
func (s *seat) refused(r backend.Reply) refusal {
	at := 1
	if s.item.Op.Script == lua.Vote {
		at = 3
	}
	out := refusal{rank: -1, left: time.Duration(1) << 62}
	if left, err := r.Int(at); err == nil && left >= 0 {
		out.left = time.Duration(left) * time.Millisecond
	}
	if rank, err := r.Int(at + 1); err == nil {
		out.rank = int(rank)
	}
	if owner, err := r.Text(at + 2); err == nil {
		out.owner = owner
	}
	if why, err := r.Text(at + 3); err == nil {
		out.why = why
	}
	return out
}

// cannotQueue reports whether err says that the node does not let us use the
// queue of the key, by its rules of access for instance. A script of fencing may have
// other reasons, and nothing takes its place.
func (s *seat) cannotQueue(err error) bool {
	if s.current.kind != releasing && (s.attempt.voting != nil || !s.ticketed) {
		return false
	}
	return s.item.Op.Kind == backend.OpEval && cannot(err)
}

// withoutQueue does the current request without the queue if the node does not let us
// use that, and reports whether it does.
func (s *seat) withoutQueue(err error, now time.Time) bool {
	if !s.cannotQueue(err) {
		return false
	}
	if s.ticketed {
		s.attempt.line.stands(s.index, s.attempt, false)
	}
	if s.current.kind == releasing && s.token == absent {
		return false // it was only about the queue
	}
	s.item.Op = s.operation()
	s.submit(now)
	return true
}
