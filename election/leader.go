package election

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// A Leader is who leads.
type Leader struct {
	// Owner is the label that its Locker or its campaign was given ([redlock.WithOwner]).
	// Fingerprint tells terms apart, also those of one owner. Both are empty if nobody
	// leads.
	Owner, Fingerprint string

	// Candidates is how many processes wait to lead, or redlock.NotKnown.
	Candidates int
}

// Current returns who leads at the moment, or the zero Leader if nobody does. It asks each
// node once, for up to the node timeout. The error is that of [redlock.Locker.Inspect], or
// matches [redlock.ErrUnavailable] if too few nodes answered to tell, and says what each of
// them answered.
//
// The answer may be out of date when it arrives. Only the resource can tell whether a leader
// still leads: by its term.
func Current(ctx context.Context, locker *redlock.Locker, key string) (Leader, error) {
	status, err := locker.Inspect(ctx, key)
	switch {
	case err != nil:
		return Leader{}, err
	case status.State == redlock.StateUnknown:
		return Leader{}, fmt.Errorf("election: who leads depends on nodes that did not answer: %w: %v", redlock.ErrUnavailable, status)
	case status.State != redlock.StateHeld:
		return Leader{Candidates: status.Waiting}, nil
	}
	return Leader{Owner: status.Owner, Fingerprint: status.Fingerprint, Candidates: status.Waiting}, nil
}

// Observe yields who leads, first now and then whenever that changes, until ctx ends or the
// loop does. It asks the nodes in intervals of every, so it may miss a short term. It does
// not yield while nobody leads or too few nodes answer; the number of candidates is that of
// the moment.
func Observe(ctx context.Context, locker *redlock.Locker, key string, every time.Duration) iter.Seq[Leader] {
	return func(yield func(Leader) bool) {
		seen := ""
		for {
			leader, err := Current(ctx, locker, key)
			if err == nil && leader.Fingerprint != "" && leader.Fingerprint != seen {
				seen = leader.Fingerprint
				if !yield(leader) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(every, time.Millisecond)):
			}
		}
	}
}
