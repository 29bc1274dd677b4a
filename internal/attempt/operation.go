package attempt

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// operation returns the operation for the current request. A node that has refused a
// deletion first has to show that it deletes.
func (s *nodeState) operation() backend.Op {
	s.shown = false
	if s.current.kind == round.Acquiring && !s.current.rejoin && s.member.Keeps.Load() {
		s.ticketed, s.tombstoned = false, false
		return s.futileDeletion()
	}
	return s.usual()
}

// usual returns the operation for the current request on a node that deletes. It and acquire
// make all such decisions. Where scripts work, every release is a script, because the holder
// cannot know who waits.
func (s *nodeState) usual() backend.Op {
	a, r := s.attempt, s.current
	s.ticketed, s.tombstoned = false, false
	a.name()
	queue := a.queue() != "" && s.member.Queueing.Works() && !s.apart
	switch {
	case r.kind == round.Acquiring:
		return s.acquire(queue)
	case r.kind == round.Raising:
		return s.raise()
	case r.kind == round.Extending && a.shared != nil:
		return s.extendShared()
	case r.kind == round.Extending && a.voting != nil:
		return s.prolong()
	case r.kind == round.Extending:
		return backend.Op{Kind: backend.OpExtend, Key: a.key, Token: a.token, TTL: r.ttl}
	case r.onward:
		return (&proto.Release{Lock: a.key, Queue: a.queue()}).Op(nil, nil)
	case a.shared == nil && (!queue || r.rejoin):
		return backend.Op{Kind: backend.OpEvalDelete, Key: a.key, Token: a.token}
	}
	ticket := ""
	if a.local != nil && !r.rejoin && a.local.IsNewest(s.index, a) {
		s.ticketed = true
		ticket = a.local.Ticket()
	}
	again := s.token == doubted && s.again
	tombstone := s.tombstone()
	switch {
	case r.stay || again && !s.ticketed:
		// A release notifies wherever the lock is free. If each rollback and each
		// repetition did so, the notified waiters would roll back in turn, and notify
		// again.
		wait := proto.Wait{Queue: a.queue(), Ticket: ticket}
		if s.ticketed {
			wait.Waited = time.Since(a.asked.Time())
		}
		rollback := proto.Rollback{Lock: a.key, Token: a.token, Readers: a.readers(), Wait: wait, Notify: r.call || !r.stay, Tombstone: tombstone}
		return rollback.Op(nil, nil)
	case s.ticketed || tombstone.Key != "":
		release := proto.Release{Lock: a.key, Queue: a.queue(), Token: a.token, Readers: a.readers(), Ticket: ticket, Announce: a.announce(), Tombstone: tombstone}
		return release.Op(nil, nil)
	}
	return a.plainRelease()
}

// acquire returns the operation that acquires. SET NX costs a server half as much as a
// script. A script is needed if somebody waits, if the node must check whether it may grant
// or show that it can release, to read, and to tell an earlier token of this attempt that may
// have arrived from somebody else's. With fencing, every acquire is a vote: a token that was
// set in another way has none.
func (s *nodeState) acquire(queue bool) backend.Op {
	a, r := s.attempt, s.current
	if (queue || a.votes()) && a.local != nil && !r.rejoin && a.local.Hears(s.index) {
		s.ticketed = true
		a.local.Enters(s.index, a)
	}
	switch {
	case s.ticketed || a.votes() || a.shared != nil || s.quarantined() || r.rejoin && s.member.Queueing.Scripts:
		return s.acquireScript()
	case !s.member.Releases.Load():
		return s.proof()
	}
	// This must not be sent again.
	return backend.Op{Kind: backend.OpSetNX, Key: a.key, Token: a.token, TTL: r.ttl}
}

// plainRelease returns the release with which most attempts end. All nodes share its keys
// and arguments.
func (a *Attempt) plainRelease() backend.Op {
	if a.shared != nil {
		return backend.Op{Kind: backend.OpEval, Script: lua.ReleaseShared, Keys: a.shared.keys[:], Args: a.plain.args}
	}
	return backend.Op{Kind: backend.OpEval, Script: lua.Release, Keys: a.plain.keys[:], Args: a.plain.args}
}

// announce returns the channel of another library on which the release is announced, if
// any.
func (a *Attempt) announce() string {
	if announce := a.nodes.Config.Announce; announce != nil {
		return announce(a.key)
	}
	return ""
}

// notifiedNobody handles what a release or a rollback says about the next waiter. It may
// have been unable to notify. Or it may have removed as many tickets of dead waiters as
// one script is allowed to, and there may be more; then the lock is free, and another
// release continues. Each script removes hundreds of tickets, so few round trips are
// needed.
func (s *nodeState) notifiedNobody(r proto.ReleaseReply) {
	if r.Mute != "" {
		s.member.Queueing.Mute(r.Mute)
	}
	if r.More {
		a := New(s.attempt.nodes, s.attempt.key, "")
		a.mu.Lock()
		defer a.mu.Unlock()
		a.states[s.index].clean(request{kind: round.Releasing, onward: true}, time.Now())
	}
}

// acquireScript returns an acquire that may be sent again. If it is refused, it adds the
// ticket, if there is one, to the queue. With a fencing token it is a vote.
func (s *nodeState) acquireScript() backend.Op {
	a := s.attempt
	acquire := proto.Acquire{Lock: a.key, Token: a.token, TTL: s.current.ttl, Readers: a.readers(), Check: s.check()}
	if a.shared != nil {
		if !s.ticketed && !s.current.rejoin && !s.quarantined() {
			return a.shared.plainAcquire(&acquire)
		}
		acquire.Wait.Queue, acquire.Reads = a.queue(), s.current.rejoin
	}
	if s.ticketed {
		acquire.Wait = proto.Wait{Queue: a.queue(), Ticket: a.local.Ticket(), Waited: time.Since(a.asked.Time())}
	}
	if !a.votes() {
		return acquire.Op(nil, nil)
	}
	acquire.Vote = s.vote()
	return acquire.Op(a.voting.votes[s.index].room())
}

func (s *nodeState) readAcquire(r backend.Reply, now time.Time) (proto.AcquireReply, error) {
	v := s.attempt.voting
	if s.item.Op.Script != lua.Vote {
		return proto.ReadAcquire(r)
	}
	reply, err := proto.ReadVote(r, v.votes[s.index].aim)
	if err == nil {
		s.voted(reply, now)
	}
	return reply, err
}

// name sets the keys and arguments of the plain release, and with them the name of the queue.
// Its first call is under the mutex or before a is asked for. They do not change after that,
// because a node may read them during a call.
func (a *Attempt) name() {
	if a.plain.args == nil {
		queue, _ := proto.QueueKey(a.Name())
		release := proto.Release{Lock: a.key, Queue: queue, Token: a.token, Announce: a.announce()}
		a.plain.args = release.Op(a.plain.keys[:0], a.plain.room[:0]).Args
	}
}

// queue returns the key of the queue, or "" if the key has none. It is after name.
func (a *Attempt) queue() string { return a.plain.keys[1] }

// cannotQueue reports whether err says that the node does not let this process use the
// queue of the key, for example because of its access rules. An acquire or extension with
// fencing may fail for other reasons and has no fallback, so it never counts. Nor does an
// operation in shared mode.
func (s *nodeState) cannotQueue(err error) bool {
	if isShared(&s.item.Op) {
		return false
	}
	if s.current.kind != round.Releasing && (s.attempt.voting != nil || !s.ticketed) {
		return false
	}
	return s.item.Op.Kind == backend.OpEval && member.Cannot(err)
}

// withoutQueue repeats the current request without the queue if the node does not let
// this process use it, and reports whether it does.
func (s *nodeState) withoutQueue(err error, now time.Time) bool {
	if !s.cannotQueue(err) {
		return false
	}
	if s.ticketed {
		s.attempt.local.SetQueued(s.index, s.attempt, false)
	}
	if s.current.kind == round.Releasing && s.token == absent {
		return false // it was only about the queue
	}
	s.item.Op = s.usual()
	s.submit(now)
	return true
}
