package main

import (
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// answers returns how long to wait for what is still under way after a round that a quorum has
// decided, and the names of the servers that have not answered in it. If a server has not
// answered, or has failed, it may hang, and the wait is a little longer than the slowest of the
// others took. Otherwise all that is under way, such as a deletion, will be answered too, unless
// a server has just stopped.
func answers(r redlock.Report) (patience time.Duration, missing []string) {
	slowest, all := time.Duration(0), len(r) > 0
	for _, n := range r {
		switch n.Outcome {
		case redlock.Granted, redlock.Taken, redlock.NotHeld:
			slowest = max(slowest, n.Latency)
		case redlock.Pending, redlock.TimedOut:
			missing = append(missing, n.Node)
			all = false
		case redlock.Failed:
			all = false
		}
	}
	if all {
		return longest, nil
	}
	return min(max(3*slowest, least), leave), missing
}

// unanswered says that these servers have not answered, or that some server has not that had
// answered before.
func unanswered(missing []string) string {
	if len(missing) == 0 {
		return "no answer yet to a deletion on some server"
	}
	return "no answer yet from " + strings.Join(missing, ", ")
}
