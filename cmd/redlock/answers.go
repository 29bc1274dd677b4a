package main

import (
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// answers returns how long to wait for the rest of a round that a quorum has decided: a
// little longer than the slowest server that has answered took. It also returns the names
// of the servers that have not answered.
func answers(r redlock.Report) (patience time.Duration, missing []string) {
	slowest := time.Duration(0)
	for _, n := range r {
		switch n.Outcome {
		case redlock.Granted, redlock.Taken, redlock.NotHeld:
			slowest = max(slowest, n.Latency)
		case redlock.Pending, redlock.TimedOut:
			missing = append(missing, n.Node)
		}
	}
	return min(max(3*slowest, least), leave), missing
}
