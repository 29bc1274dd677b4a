package inspect

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// Check asks the nodes whether the lock key still has the token, or whether the token
// reads it if shared is set. It returns as soon as a quorum has it (Won), or no quorum can
// have it (Gone).
func Check(ctx context.Context, nodes Nodes, key, token string, shared bool, timeout time.Duration) round.Result {
	res := round.Result{Verdict: round.Unavailable, Votes: make([]round.Vote, nodes.Size())} // all Pending
	held, gone, start := 0, 0, time.Now()
	over := time.NewTimer(timeout)
	defer over.Stop()
	res.CtxErr = each(ctx, nodes, over, func(ctx context.Context, _ int, node backend.Node) round.Vote {
		return tokenVote(ctx, node, key, token, shared)
	}, func(i int, v round.Vote, latency time.Duration) bool {
		v.Latency = latency
		res.Votes[i] = v
		switch v.Outcome {
		case round.Granted:
			held++
		case round.Taken, round.NotHeld:
			gone++
		}
		switch {
		case held >= nodes.Need():
			res.Verdict = round.Won
		case len(res.Votes)-gone < nodes.Need():
			res.Verdict = round.Gone
		}
		return res.Verdict == round.Unavailable
	})
	if res.Verdict != round.Unavailable {
		return res
	}
	rest := round.Vote{Outcome: round.TimedOut, Latency: time.Since(start), Err: errNoAnswer}
	if res.CtxErr != nil {
		rest.Outcome, rest.Err = round.Pending, nil
	}
	for i, v := range res.Votes {
		if v.Outcome == round.Pending {
			res.Votes[i] = rest
		}
	}
	return res
}

// tokenVote asks one node whether key has token, or whether token reads it.
func tokenVote(ctx context.Context, node backend.Node, key, token string, shared bool) round.Vote {
	found, err := ask(ctx, node, proto.Inspect{Lock: key})
	granted := found.Value == token
	// A downgrade may be under way. To ask a node that has the token for a share would turn the
	// token into one, ahead of what the sender of the node has yet to send.
	if shared && found.Value == proto.SharedValue {
		granted, err = reads(ctx, node, key, token)
	}
	switch {
	case err != nil:
		return round.Vote{Outcome: round.Failed, Err: err}
	case !found.Found:
		return round.Vote{Outcome: round.NotHeld}
	case granted:
		return round.Vote{Outcome: round.Granted}
	}
	return round.Vote{Outcome: round.Taken}
}

// reads asks a node whether token reads key. It extends the share to a millisecond from
// now, which is never shorter, because there is no script that only looks.
func reads(ctx context.Context, node backend.Node, key, token string) (bool, error) {
	extend := proto.ExtendShared{Lock: key, Token: token, TTL: time.Millisecond}
	extend.Queue, _ = proto.QueueKey(key)
	extend.Readers, _ = proto.ReadersKey(key)
	op := extend.Op(nil, nil)
	res := op.Do(ctx, node)
	if res.Err != nil {
		return false, res.Err
	}
	done, err := res.Reply.Int(0)
	return done == 1, err
}
