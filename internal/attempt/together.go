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

// AcquireAll acquires all attempts, which are for different keys, each as [Attempt.Acquire]
// does. It asks each node for all of them in one call, and waits for all results.
func (ns *Nodes) AcquireAll(ctx context.Context, attempts []*Attempt, ttl, timeout time.Duration) []round.Result {
	requests, deadlines := ns.sendAll(ctx, attempts, request{kind: round.Acquiring, ttl: ttl, timeout: timeout})
	results := make([]round.Result, len(attempts))
	var second sync.WaitGroup // second rounds for fencing tokens
	for i, a := range attempts {
		results[i] = a.await(ctx, requests[i], deadlines[i])
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
	requests, deadlines := ns.sendAll(ctx, attempts, request{kind: round.Releasing, timeout: timeout})
	results := make([]round.Result, len(attempts))
	for i, a := range attempts {
		results[i] = a.await(ctx, requests[i], deadlines[i])
		ns.releasing(a)
	}
	return results
}

// sendAll asks every node for req for all attempts. It returns what [Attempt.await] needs to
// wait for each verdict.
func (ns *Nodes) sendAll(ctx context.Context, attempts []*Attempt, req request) ([]request, []*round.Deadline) {
	requests, deadlines := make([]request, len(attempts)), make([]*round.Deadline, len(attempts))
	start := time.Now()
	for i, a := range attempts {
		requests[i] = req
		requests[i].round = a.newRound(req.kind, start)
	}
	alone := ns.alone(ctx, attempts, requests)
	if !alone {
		defer ns.gather()()
	}
	for i, a := range attempts {
		deadlines[i] = a.send(requests[i], alone)
	}
	return requests, deadlines
}
