package quorum

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// Outcome is what a node did in a round.
type Outcome uint8

const (
	Pending     Outcome = iota // it had not answered when the round was decided
	Granted                    // it did what was asked
	Taken                      // it refused to acquire: another token holds the key
	NotHeld                    // it does not hold the token, to extend or to delete
	Failed                     // an error; whether anything was done may be unknown
	TimedOut                   // it did not answer in time; the same
	Skipped                    // it was not asked, as the token cannot be there
	Quarantined                // it does not vote for now: nothing was done
)

// A Vote is one node's part in a round.
type Vote struct {
	Outcome Outcome

	// Latency is the time from entering the sender to the answer. It is above 0 for a
	// Pending node only if the round waited for it until the caller's context ended.
	// A node without which the round was decided has 0: nothing is known about it.
	Latency time.Duration

	Err      error // of Failed, TimedOut and Quarantined
	Rejoined bool  // of an extension: the node had lost the token, and has been given it again since the one before
}

// Verdict is what a round came to.
type Verdict uint8

const (
	Undecided   Verdict = iota // not yet; no Result has it
	Won                        // a quorum did what was asked
	Lost                       // acquire: others hold too many nodes
	Gone                       // extend, release: the token is not on a quorum
	Unavailable                // too many nodes failed to tell
)

// A Result is how a round went.
type Result struct {
	Verdict Verdict
	Votes   []Vote // one for each node of the group, in order
	Elapsed time.Duration

	// CtxErr is the error of the caller's context where that ended the round.
	// Verdict is then what the answers so far, and no answer from the others,
	// come to.
	CtxErr error
}

// Permanent reports whether trying again is of no use: the round failed
// because of nodes that refuse or cannot do it, not merely fail.
func (r Result) Permanent(need int) bool {
	refusals := 0
	for _, v := range r.Votes {
		if errors.Is(v.Err, backend.ErrRefused) || errors.Is(v.Err, errors.ErrUnsupported) {
			refusals++
		}
	}
	return r.Verdict == Unavailable && refusals > len(r.Votes)-need
}

// Quarantined reports whether the round failed because of nodes that are in quarantine: as
// far as is known the others leave a quorum possible. It is worth waiting for, since a
// quarantine ends.
func (r Result) Quarantined(need int) bool {
	quarantined, failed := 0, 0
	for _, v := range r.Votes {
		switch v.Outcome {
		case Quarantined:
			quarantined++
		case Failed, TimedOut:
			failed++
		}
	}
	return r.Verdict == Unavailable && quarantined > 0 && failed <= len(r.Votes)-need
}

// kind is what a round asks the nodes to do.
type kind uint8

const (
	acquiring kind = iota + 1
	raising        // of votes for a fencing token
	extending
	releasing
)

// A round is one question to all nodes and the count of their answers. It is
// guarded by the mutex of its attempt.
type round struct {
	kind    kind
	need    int
	news    chan int // nil, or has room for one and tells of votes; then only a win is decided by them
	start   time.Time
	votes   []Vote
	verdict Verdict
	took    time.Duration // until the verdict
	decided chan int      // has room for place, which tells that the verdict has fallen; nil if nobody waits for it
	place   int           // among the rounds that one goroutine waits for
}

// A request is a seat's part in a round.
type request struct {
	kind    kind
	ttl     time.Duration
	timeout time.Duration // for which the round waits for a node
	value   int64         // raising: to what
	stay    bool          // releasing: to wait on, so the ticket stays in the queue
	call    bool          // with stay: to call the next, as others may count on us
	joins   bool          // acquiring: for an attempt that has won, on a node that has notified it
	rejoin  bool          // acquiring: for an attempt that has won, on a node that has lost its token; releasing: to take that back
	onward  bool          // releasing: to notify whoever the release before it has not reached, and nothing else
	round   *round        // nil: nobody waits
}

// vote counts what node i has answered by now, unless the verdict has fallen. An answer
// may replace an earlier one: a deletion that failed and is tried again.
func (r *round) vote(i int, v Vote, now time.Time) {
	if r == nil || r.verdict != Undecided {
		return
	}
	v.Latency, v.Rejoined = now.Sub(r.start), r.votes[i].Rejoined && v.Outcome != NotHeld
	r.votes[i] = v
	verdict := r.judge(false)
	if r.news != nil {
		select {
		case r.news <- r.place:
		default:
		}
		if verdict != Won {
			return
		}
	}
	r.decide(verdict, now)
}

// decide lets the verdict fall, now.
func (r *round) decide(v Verdict, now time.Time) {
	if r.verdict == Undecided && v != Undecided {
		r.verdict, r.took = v, now.Sub(r.start)
		select {
		case r.decided <- r.place:
		default: // nobody waits for it
		}
	}
}

// expire takes the nodes that have not answered for timed out, and decides. Late returns
// the error of node i.
func (r *round) expire(late func(i int) error) {
	if r.verdict != Undecided {
		return
	}
	now := time.Now()
	for i := range r.votes {
		if v := &r.votes[i]; v.Outcome == Pending {
			v.Outcome, v.Latency, v.Err = TimedOut, now.Sub(r.start), late(i)
		}
	}
	r.decide(r.judge(true), now)
}

// cut ends a round that is undecided when the caller's context has ended. A node that has
// not answered stays Pending, with the time for which it was waited for.
func (r *round) cut() {
	if r.verdict != Undecided {
		return
	}
	now := time.Now()
	for i := range r.votes {
		if v := &r.votes[i]; v.Outcome == Pending {
			v.Latency = max(now.Sub(r.start), 1)
		}
	}
	r.decide(r.judge(true), now)
}

// result returns what a round came to that is decided. CtxErr is the error of the context
// that ended it, if one did.
func (r *round) result(ctxErr error) Result {
	return Result{Verdict: r.verdict, Votes: r.votes, Elapsed: r.took, CtxErr: ctxErr}
}

// judge returns the verdict as soon as no answer that is still to come can
// change it. Final says that none will come.
func (r *round) judge(final bool) Verdict {
	var n [Quarantined + 1]int
	free := 0 // nodes known not to hold the token, now and later
	for _, v := range r.votes {
		n[v.Outcome]++
		if v.Outcome == Skipped || v.Err == nil && (v.Outcome == NotHeld || v.Outcome == Granted) {
			free++
		}
	}
	if final {
		n[TimedOut] += n[Pending]
		n[Pending] = 0
	}
	all, pending := len(r.votes), n[Pending]
	spare := all - r.need // how many may fail us
	if n[Granted] >= r.need {
		return Won
	}
	if r.kind == acquiring || r.kind == raising {
		switch failed := n[Failed] + n[TimedOut] + n[Quarantined]; {
		case failed > spare:
			return Unavailable
		case failed+n[Taken] > spare:
			return Lost
		}
		return Undecided
	}
	// A node that was skipped never had the token, or lost it: like one that
	// does not hold it, it was not in a quorum of ours to the end, and is free.
	without := n[NotHeld] + n[Skipped]
	us := n[Granted]
	if r.kind == releasing {
		us = free // it need not be us who deleted it
	}
	switch {
	case without > spare:
		return Gone
	case without+pending > spare:
		return Undecided
	case us >= r.need:
		return Won
	case us+pending >= r.need:
		return Undecided
	}
	return Unavailable
}
