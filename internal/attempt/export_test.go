package attempt

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/round"
)

// MaxHint is how far a hint may be ahead.
const MaxHint = maxHint

// AtRest returns what is still going on on the nodes, the empty string if nothing is.
func AtRest(ns *Nodes) string { return atRest(ns) }

// Crash says that the process of a has crashed.
func (a *Attempt) Crash() { a.nodes.releasing(a) }

// RejoinAnyway asks nodes to rejoin, as after an extension that was won.
func (a *Attempt) RejoinAnyway(ttl, timeout time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = false
	won := &round.Round{Verdict: round.Won, Start: time.Now()}
	a.rejoin(request{kind: round.Extending, ttl: ttl, timeout: timeout, round: won}, time.Now())
}

// Confirm has every node confirm the token for an hour, although none has.
func (a *Attempt) Confirm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.states {
		a.states[i].rejoins().lasts = a.nodes.Config.Clock.Now().Add(time.Hour)
	}
}
