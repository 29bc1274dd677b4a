package attempt

import (
	"context"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// gather keeps the nodes from being asked until resume is called, so that everything that is
// asked in between shares calls. The caller must not block in between.
func (ns *Nodes) gather() (resume func()) {
	var senders []*sender.Sender
	for _, m := range ns.Members {
		senders = append(senders, m.Sender)
		for _, part := range m.Parts[min(1, len(m.Parts)):] {
			senders = append(senders, part.Sender)
		}
	}
	for _, s := range senders {
		s.Hold()
	}
	return func() {
		for _, s := range senders {
			s.Resume()
		}
	}
}

// A sent is a round that was sent, and waits for its verdict.
type sent struct {
	request  request
	deadline *round.Deadline
}

// AcquireAll acquires all attempts, which are for different keys, each as [Attempt.Acquire]
// does. It asks each node for all of them in one call, and waits for all results.
func (ns *Nodes) AcquireAll(ctx context.Context, attempts []*Attempt, ttl, timeout time.Duration) []round.Result {
	rounds := ns.sendAll(attempts, request{kind: round.Acquiring, ttl: ttl, timeout: timeout})
	results := make([]round.Result, len(attempts))
	var second sync.WaitGroup // second rounds for fencing tokens
	for i, a := range attempts {
		results[i] = a.await(ctx, rounds[i].request, rounds[i].deadline)
		if a.voting != nil && results[i].Verdict == round.Won {
			second.Go(func() { results[i] = a.Agree(ctx, results[i], timeout) })
		}
	}
	second.Wait()
	for i, a := range attempts {
		if results[i].Verdict != round.Won {
			a.Abandon()
		}
	}
	return results
}

// ReleaseAll releases all attempts, each as [Attempt.Release] does. It asks each node for all
// of them in one call, and waits for all results.
func (ns *Nodes) ReleaseAll(ctx context.Context, attempts []*Attempt, timeout time.Duration) []round.Result {
	if len(attempts) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if ns.releases.Enter(ctx, attempts[0].acquired.Start) {
		defer ns.releases.Leave()
	}
	rounds := ns.sendAll(attempts, request{kind: round.Releasing, timeout: timeout})
	results := make([]round.Result, len(attempts))
	for i, a := range attempts {
		results[i] = a.await(ctx, rounds[i].request, rounds[i].deadline)
		ns.releasing(a)
	}
	return results
}

// sendAll asks every node for req for all attempts, and does not wait.
func (ns *Nodes) sendAll(attempts []*Attempt, req request) []sent {
	rounds := make([]sent, len(attempts))
	resume := ns.gather()
	defer resume()
	for i, a := range attempts {
		req.round = a.newRound(req.kind)
		rounds[i] = sent{req, a.send(req, false)}
	}
	return rounds
}
