package redlock

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Report has what each node did in a round, in the order in which the nodes were given
// to [New].
type Report []NodeReport

// A NodeReport is what one node did in a round.
type NodeReport struct {
	Node    string // its name, usually the address
	Outcome Outcome

	// Latency is how long the node took to answer, or how long the call waited for it. It
	// is 0 for a Skipped node, and for a Pending node if the round was decided without
	// it: such a node has not failed. It is above 0 for a Pending node if the caller's
	// ctx ended the round.
	Latency time.Duration

	// Rejoined is set in the report of an extension if the node had lost the lock, and
	// has granted it again since the previous extension. See [Lock.Extend].
	Rejoined bool

	// Quarantine is how much longer a Quarantined node stays so (see [WithQuarantine]).
	// It is 0 for other nodes.
	Quarantine time.Duration

	// Err is why the node failed or timed out, or how long it is in quarantine. Its text
	// is one line that is safe to show on a terminal and in a log: it is shortened,
	// escaped if it is not printable, and contains neither a token nor anything that may
	// be a password. The driver's own error, with the original text, is in its chain.
	Err error
}

// An Outcome is what a node did in a round.
type Outcome uint8

const (
	Pending     = Outcome(round.Pending)     // it had not answered when the round was decided or cut off: see NodeReport.Latency
	Granted     = Outcome(round.Granted)     // it did what was asked
	Taken       = Outcome(round.Taken)       // the key holds another token there
	NotHeld     = Outcome(round.NotHeld)     // it does not hold the token
	Failed      = Outcome(round.Failed)      // it answered with an error, or could not be asked
	TimedOut    = Outcome(round.TimedOut)    // it did not answer in time
	Skipped     = Outcome(round.Skipped)     // it was not asked, because the token cannot be there
	Quarantined = Outcome(round.Quarantined) // it grants no locks for now: see [WithQuarantine]
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case Pending:
		return "pending"
	case Granted:
		return "granted"
	case Taken:
		return "taken"
	case NotHeld:
		return "not held"
	case Failed:
		return "failed"
	case TimedOut:
		return "timed out"
	case Skipped:
		return "not asked"
	case Quarantined:
		return "quarantined"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Count returns how many nodes had the outcome.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, node := range r {
		if node.Outcome == o {
			n++
		}
	}
	return n
}

// String returns the report on one line, for errors and logs.
func (r Report) String() string {
	var b strings.Builder
	for i, n := range r {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: ", text.Name(n.Node))
		waited := n.Latency.Round(100 * time.Microsecond)
		switch {
		case n.Outcome == Pending && n.Latency == 0:
			b.WriteString("not waited for")
		case n.Outcome == Pending:
			fmt.Fprintf(&b, "no answer yet after %v", waited)
		case n.Outcome == TimedOut:
			fmt.Fprintf(&b, "%v after %v", n.Outcome, waited)
			if late := (*member.LateError)(nil); errors.As(n.Err, &late) {
				fmt.Fprintf(&b, ": %s", words(n.Err))
			}
		case n.Err != nil:
			fmt.Fprintf(&b, "%v: %s", n.Outcome, words(n.Err))
		default:
			b.WriteString(n.Outcome.String())
		}
		if n.Rejoined {
			b.WriteString(" (rejoined)")
		}
	}
	return b.String()
}

// nodeError is the error of a node, with a text that is safe to show. Every error of a
// node that leaves this package, in a field or in a chain, is a nodeError.
type nodeError struct{ err error }

func (e *nodeError) Error() string { return words(e.err) }
func (e *nodeError) Unwrap() error { return e.err }

// newNodeError returns err as a nodeError, or nil if err is nil.
func newNodeError(err error) error {
	if _, ok := err.(*nodeError); ok || err == nil {
		return err
	}
	return &nodeError{err}
}

// words returns the text of a node's error on one line that is safe to show. A server
// that does not know a command (a Sentinel, for example) quotes its arguments. words
// leaves them out, because the token is one of them.
func words(err error) string {
	said, _, _ := strings.Cut(backend.HideAddress(err).Error(), ", with args beginning with:")
	return text.Line(said)
}

func newReport(g *quorum.Group, votes []round.Vote) Report {
	r := make(Report, len(votes))
	for i, v := range votes {
		r[i] = newNodeReport(g, i, v)
	}
	return r
}

func newNodeReport(g *quorum.Group, node int, v round.Vote) NodeReport {
	_, name := g.Node(node)
	r := NodeReport{Node: name, Outcome: Outcome(v.Outcome), Latency: v.Latency, Rejoined: v.Rejoined, Err: newNodeError(v.Err)}
	if v.Outcome == round.Quarantined {
		r.Quarantine = proto.QuarantineLeft(v.Err)
	}
	return r
}
