package attempt

import (
	"testing"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// On how many nodes one owner stands: those that refused this time, and told whose the lock is.
func TestMajorityOwner(t *testing.T) {
	for _, tc := range []struct {
		outcomes []round.Outcome
		owners   []string // of the last refusal, which may be of an earlier answer
		want     int
	}{
		{[]round.Outcome{round.Taken, round.Taken, round.Taken}, []string{"a", "b", "a"}, 2},
		{[]round.Outcome{round.Granted, round.Taken, round.Taken}, []string{"a", "b", "a"}, 1},
		{[]round.Outcome{round.Failed, round.TimedOut, round.Pending}, []string{"a", "a", "a"}, 0},
		{[]round.Outcome{round.Taken, round.Taken, round.Taken}, []string{"", "", "a"}, 1},
		{[]round.Outcome{round.Taken, round.Taken, round.Granted}, []string{"", "", ""}, 0},
	} {
		a := new(Attempt)
		var votes []round.Vote
		for i, o := range tc.outcomes {
			a.states = append(a.states, new(nodeState))
			a.states[i].refusal = &proto.Refusal{Owner: tc.owners[i]}
			votes = append(votes, round.Vote{Outcome: o})
		}
		if got := a.majority(votes); got != tc.want {
			t.Errorf("%s of %q: %d, want %d", outcomes(votes), tc.owners, got, tc.want)
		}
	}
}
