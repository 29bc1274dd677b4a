package attempt

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// A Renewal is one attempt to be extended by [ExtendAll].
type Renewal struct {
	Attempt *Attempt
	TTL     time.Duration // whole milliseconds
	Timeout time.Duration // how long to wait for a node
}

// ExtendAll extends at least one attempt, each as [Attempt.Extend] does. Together they
// share calls and a goroutine. It calls done with each result as soon as it is known, one
// at a time on the caller's goroutine, and returns after the last one.
func ExtendAll(renewals []Renewal, done func(i int, r round.Result)) {
	b := round.NewBell(len(renewals) + 1)
	defer b.Stop()
	rounds := make([]*round.Round, len(renewals))
	wait := renewals[0].Timeout
	for i, n := range renewals {
		r := n.Attempt.newRound(round.Extending, time.Now())
		r.Bell, r.Place = &b, int32(i)
		rounds[i] = r
		n.Attempt.renew(request{kind: round.Extending, ttl: n.TTL, timeout: n.Timeout, round: r})
		wait = min(wait, n.Timeout)
	}
	b.Set(wait)
	for left := len(renewals); left > 0; {
		if i := b.Wait(context.Background(), nil); i != round.NoRound {
			done(i, renewals[i].Attempt.result(rounds[i]))
			rounds[i] = nil
			left--
			continue
		}
		// Rounds whose time is over are decided here, and ring the bell.
		wait = sender.CallTimeout
		for i, r := range rounds {
			if r == nil {
				continue
			}
			if left := renewals[i].Timeout - time.Since(r.Start); left > 0 {
				wait = min(wait, left)
			} else {
				renewals[i].Attempt.expire(r, renewals[i].Timeout)
			}
		}
		b.Set(wait)
	}
}

// renew asks every node for req.
func (a *Attempt) renew(req request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ask(req, req.round.Start)
}

// expire decides r, which has waited for its nodes for timeout.
func (a *Attempt) expire(r *round.Round, timeout time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Expire(a.late(timeout))
}

func (a *Attempt) result(r *round.Round) round.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return r.Result(nil)
}
