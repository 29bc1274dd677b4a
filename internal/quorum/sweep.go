package quorum

import "time"

// A Renewal is one attempt to be extended by [Group.ExtendAll].
type Renewal struct {
	Attempt *Attempt
	TTL     time.Duration // whole milliseconds
	Timeout time.Duration // how long to wait for a node
}

// ExtendAll extends at least one attempt, each as [Attempt.Extend] does. Together they
// share calls and a goroutine. It calls done with each result as soon as it is known, one
// at a time on the caller's goroutine, and returns after the last one.
func (g *Group) ExtendAll(renewals []Renewal, done func(i int, r Result)) {
	decided := make(chan int, len(renewals))
	rounds := make([]*round, len(renewals))
	wait := renewals[0].Timeout
	for i, n := range renewals {
		r := n.Attempt.newRound(extending)
		r.decided, r.place = decided, i
		rounds[i] = r
		n.Attempt.renew(request{kind: extending, ttl: n.TTL, timeout: n.Timeout, round: r})
		wait = min(wait, n.Timeout)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for left := len(renewals); left > 0; {
		select {
		case i := <-decided:
			done(i, renewals[i].Attempt.result(rounds[i]))
			rounds[i] = nil
			left--
		case <-timer.C:
			// Rounds whose time is over are decided here, and arrive on the channel.
			wait = CallTimeout
			for i, r := range rounds {
				if r == nil {
					continue
				}
				if left := renewals[i].Timeout - time.Since(r.start); left > 0 {
					wait = min(wait, left)
				} else {
					renewals[i].Attempt.expire(r, renewals[i].Timeout)
				}
			}
			timer.Reset(wait)
		}
	}
}

// renew asks every node for req.
func (a *Attempt) renew(req request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ask(req, req.round.start)
}

// expire decides r, which has waited for its nodes for timeout.
func (a *Attempt) expire(r *round, timeout time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.expire(a.late(timeout))
}

func (a *Attempt) result(r *round) Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return r.result(nil)
}
