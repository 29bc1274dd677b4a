package round

import "fmt"

// String returns a letter: Pending, Granted, Taken, NotHeld, Failed, timed Out, Skipped,
// Quarantined.
func (o Outcome) String() string { return "PGTNFOSQ"[o : o+1] }

func (v Verdict) String() string {
	return [...]string{"undecided", "won", "lost", "gone", "unavailable", "late", "behind", "away", "closed"}[v]
}

// String returns a description for people who work on this library.
func (r Result) String() string {
	return fmt.Sprintf("%v (%s) after %v, ctx: %v", r.Verdict, Outcomes(r.Votes), r.Elapsed, r.CtxErr)
}

// Outcomes returns the letters of votes.
func Outcomes(votes []Vote) string {
	b := make([]byte, len(votes))
	for i, v := range votes {
		b[i] = v.Outcome.String()[0]
	}
	return string(b)
}
