package round

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/limit"
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

// Verdict is the result of a round, or of a call that makes rounds.
type Verdict uint8

const (
	Undecided   Verdict = iota // not yet; never in a Result
	Won                        // a quorum did what was asked
	Lost                       // acquire: others hold too many nodes
	Gone                       // extend, release: the token is not on a quorum
	Unavailable                // too many nodes gave no usable answer

	// Verdicts of Group.Lock, and Late also of Group.Resume.
	Late   // a quorum did what was asked, but the validity is over
	Behind // other callers of this process are first, so no attempt was made
	Away   // other callers of this process have found too many nodes unavailable
	Closed // the group was closed
)

// A Result describes a finished round.
type Result struct {
	Verdict Verdict
	Votes   []Vote // one for each node of the group, in order
	Elapsed time.Duration

	// CtxErr is the error of the caller's context if its end ended the round. Verdict is
	// then based on the answers so far, as if the other nodes would not answer.
	CtxErr error

	// Ctx is set by Group.Lock if CtxErr is not nil. It tells that context from the other
	// one of the call.
	Ctx context.Context
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

// Answer returns what the round says about the load on the nodes.
func (r Result) Answer() limit.Answer {
	switch {
	case r.CtxErr != nil || r.Verdict == Undecided:
		return limit.NoAnswer
	case r.Verdict != Unavailable:
		return limit.Answered
	}
	silent := 0
	for _, v := range r.Votes {
		if v.Outcome == TimedOut {
			silent++
		}
	}
	if 2*silent > len(r.Votes) { // most nodes: one that is always slow is no sign of overload
		return limit.Silent
	}
	return limit.Down
}
