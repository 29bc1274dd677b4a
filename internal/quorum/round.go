package quorum

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// Outcome is what a node did in a round.
type Outcome uint8

const (
	Pending     Outcome = iota // it had not answered at the verdict
	Granted                    // it did what was asked
	Taken                      // it refused to acquire: another token holds the key
	NotHeld                    // it does not hold the token, to extend or to delete
	Failed                     // an error; it may be unknown whether anything was done
	TimedOut                   // no answer in time; as with Failed
	Skipped                    // it was not asked, because the token cannot be there
	Quarantined                // it does not vote for now; nothing was done
)

// A Vote is one node's part in a round.
type Vote struct {
	Outcome Outcome

	// Latency is the time from entering the sender to the answer. A Pending node has 0,
	// because nothing is known about it, unless the round waited for it until the
	// caller's context ended.
	Latency time.Duration

	Err      error // for Failed, TimedOut and Quarantined
	Rejoined bool  // of an extension: the token was lost, and granted again since the previous one
}

// Verdict is the result of a round.
type Verdict uint8

const (
	Undecided   Verdict = iota // not yet; never in a Result
	Won                        // a quorum did what was asked
	Lost                       // acquire: others hold too many nodes
	Gone                       // extend, release: the token is not on a quorum
	Unavailable                // too many nodes gave no usable answer
)

// A Result describes a finished round.
type Result struct {
	Verdict Verdict
	Votes   []Vote // one for each node of the group, in order
	Elapsed time.Duration

	// CtxErr is the error of the caller's context if its end ended the round. Verdict is
	// then based on the answers so far, as if the other nodes would not answer.
	CtxErr error
}

// Permanent reports whether another attempt is useless, because the round failed at nodes
// that refuse or do not support it, and not at nodes that merely failed.
func (r Result) Permanent(need int) bool {
	refusals := 0
	for _, v := range r.Votes {
		if errors.Is(v.Err, backend.ErrRefused) || errors.Is(v.Err, errors.ErrUnsupported) {
			refusals++
		}
	}
	return r.Verdict == Unavailable && refusals > len(r.Votes)-need
}

// Quarantined reports whether the round failed because of nodes in quarantine: as far as
// is known, the others would make a quorum possible. This is worth waiting for, because a
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
	raising        // raise votes for a fencing token
	extending
	releasing
)

// A round is one question to all nodes, and the count of their answers. The mutex of its
// attempt guards it.
type round struct {
	kind    kind
	need    int
	news    chan int // nil, or has room for one: a vote was counted; votes then decide only a win
	start   time.Time
	votes   []Vote
	verdict Verdict
	took    time.Duration // until the verdict
	decided chan int      // has room for place, which arrives with the verdict; nil: nobody waits
	place   int           // identifies the round if one goroutine waits for several
}

// A request is one node's part in a round.
type request struct {
	kind    kind
	ttl     time.Duration
	timeout time.Duration // how long the round waits for a node
	value   int64         // raising: the value to raise to
	stay    bool          // releasing: the caller waits on, so the ticket stays in the queue
	call    bool          // with stay: notify the next waiter, because others may rely on it
	joins   bool          // acquiring: the attempt has won, and this node has notified it
	rejoin  bool          // acquiring: a held lock, whose token this node has lost; releasing: take that back
	onward  bool          // releasing: only notify the waiter that the previous release did not reach
	round   *round        // nil: nobody waits
}

// vote counts the answer of node i, unless there is a verdict. An answer may replace an
// earlier one, if a deletion failed and is repeated.
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

func (r *round) decide(v Verdict, now time.Time) {
	if r.verdict == Undecided && v != Undecided {
		r.verdict, r.took = v, now.Sub(r.start)
		select {
		case r.decided <- r.place:
		default: // nobody waits for it
		}
	}
}

// expire counts the nodes that have not answered as timed out, and decides. late returns
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

// cut ends an undecided round because the caller's context has ended. Nodes that have not
// answered stay Pending, with the time for which the round waited for them.
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

// result returns the Result of a decided round. ctxErr is the error of the context that
// ended it, or nil.
func (r *round) result(ctxErr error) Result {
	return Result{Verdict: r.verdict, Votes: r.votes, Elapsed: r.took, CtxErr: ctxErr}
}

// judge returns the verdict once no missing answer can change it. With final, no more
// answers come.
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
	spare := all - r.need // how many nodes may fail
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
	// A skipped node never had the token, or has lost it. So it was not part of a quorum
	// to the end, just like a node that does not hold the token. It is free.
	without := n[NotHeld] + n[Skipped]
	us := n[Granted]
	if r.kind == releasing {
		us = free // it does not matter who deleted it
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
