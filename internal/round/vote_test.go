package round

import (
	"context"
	"testing"

	"github.com/quorumlock/quorumlock/internal/limit"
)

// What an attempt says about the load on the nodes.
func TestAnswer(t *testing.T) {
	for what, tc := range map[string]struct {
		res  Result
		want limit.Answer
	}{
		"nothing was asked":              {Result{}, limit.NoAnswer},
		"the caller ended it":            {Result{Verdict: Unavailable, Votes: []Vote{{}}, CtxErr: context.Canceled}, limit.NoAnswer},
		"all answered":                   {Result{Verdict: Lost, Votes: []Vote{{Outcome: Taken}}}, limit.Answered},
		"one node was slow":              {Result{Verdict: Lost, Votes: []Vote{{Outcome: Taken}, {Outcome: Taken}, {Outcome: TimedOut}}}, limit.Answered},
		"won too late":                   {Result{Verdict: Late, Votes: []Vote{{Outcome: Granted}}}, limit.Answered},
		"most were slow":                 {Result{Verdict: Unavailable, Votes: []Vote{{Outcome: Taken}, {Outcome: TimedOut}, {Outcome: TimedOut}}}, limit.Silent},
		"one was slow and two were down": {Result{Verdict: Unavailable, Votes: []Vote{{Outcome: Failed}, {Outcome: Failed}, {Outcome: TimedOut}}}, limit.Down},
		"all were down":                  {Result{Verdict: Unavailable, Votes: []Vote{{Outcome: Failed}}}, limit.Down},
	} {
		if got := tc.res.Answer(); got != tc.want {
			t.Errorf("%s: %v, want %v", what, got, tc.want)
		}
	}
}
