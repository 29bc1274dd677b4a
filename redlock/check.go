package redlock

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// Check asks the servers whether the lock is still held. It changes nothing there, does
// not extend the lock, and invokes no hook. (A shared lock of which less than a millisecond
// is left is extended to a millisecond.) It returns nil if a quorum held the lock when
// Check was called. The lock may be lost by the time that Check returns, so it does not
// prevent late writes: see package fence. [Lock.Err] tells what is known without asking.
//
// It blocks until a quorum has answered, for the node timeout at most, or until ctx ends.
// An error that matches [ErrNotHeld] means that the lock is lost, or was unlocked; its
// contexts end. An error that matches [ErrUnavailable] means that too few nodes answered,
// or could be asked at all (backend.Scripter); the lock then stays as it is. A node that
// hangs keeps a goroutine for two seconds at most.
//
// The report shows each node that was asked: Granted if it holds the lock, Taken if
// somebody else does there, NotHeld if nobody does. It is nil if no node was asked.
func (l *Lock) Check(ctx context.Context) (Report, error) {
	if err := l.locker.checkContext(ctx, "check", l.key()); err != nil {
		return nil, err
	}
	if err := l.notHeld("check", l.Err()); err != nil {
		return nil, err
	}
	c := l.locker.newCall("check", l.key(), l.callSettings())
	c.shared = l.Shared()
	res := l.ask(ctx, c)
	c.record(res)
	report := newReport(l.locker.group, res.Votes)
	if res.Verdict == round.Won {
		return report, l.notHeld("check", l.Err()) // its validity may have ended meanwhile
	}
	err := error(c.failed(ctx, res))
	if l.lease.Released() {
		return report, l.notHeld("check", l.Err())
	}
	if res.Verdict == round.Gone {
		l.lease.End(err)
	}
	return report, err
}

// ask asks all nodes whether they hold the token, until the answers decide it.
func (l *hold) ask(ctx context.Context, c *call) round.Result {
	type answer struct {
		node int
		vote round.Vote
	}
	group := l.locker.group
	votes := make([]round.Vote, group.Size()) // all Pending
	answers := make(chan answer, len(votes))
	start := time.Now()
	for i := range votes {
		node, _ := group.Node(i)
		go func() {
			// Longer than Check waits, because the next call can use a connection that is being made.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sender.CallTimeout)
			defer cancel()
			vote := entryVote(ctx, node, c.fullKey, l.lease.Attempt().Token(), c.shared)
			vote.Latency = time.Since(start)
			answers <- answer{i, vote}
		}()
	}
	timeout := time.NewTimer(l.locker.settings.Timeout(c.settings.ttl))
	defer timeout.Stop()
	held, gone := 0, 0
	for range votes {
		select {
		case a := <-answers:
			votes[a.node] = a.vote
			switch a.vote.Outcome {
			case round.Granted:
				held++
			case round.Taken, round.NotHeld:
				gone++
			}
			switch {
			case held >= group.Need():
				return round.Result{Verdict: round.Won, Votes: votes}
			case len(votes)-gone < group.Need():
				return round.Result{Verdict: round.Gone, Votes: votes}
			}
			continue
		case <-timeout.C:
			unanswered(votes, round.Vote{Outcome: round.TimedOut, Latency: time.Since(start), Err: errNoAnswer})
			return round.Result{Verdict: round.Unavailable, Votes: votes}
		case <-ctx.Done():
			unanswered(votes, round.Vote{Outcome: round.Pending, Latency: time.Since(start)})
			return round.Result{Verdict: round.Unavailable, Votes: votes, CtxErr: ctx.Err()}
		}
	}
	return round.Result{Verdict: round.Unavailable, Votes: votes}
}

// unanswered sets vote for all nodes that have not answered.
func unanswered(votes []round.Vote, vote round.Vote) {
	for i := range votes {
		if votes[i].Outcome == round.Pending {
			votes[i] = vote
		}
	}
}

// entryVote asks one node whether key holds token, or whether token reads it.
func entryVote(ctx context.Context, node backend.Node, key, token string, shared bool) round.Vote {
	held, err := contentOf(ctx, node, key)
	switch {
	case err != nil:
		return round.Vote{Outcome: round.Failed, Err: err}
	case !held.found:
		return round.Vote{Outcome: round.NotHeld}
	case held.value == token:
		// A downgrade may be under way. To ask for a share would turn the token into one, ahead
		// of what the sender of the node has yet to send.
		return round.Vote{Outcome: round.Granted}
	case shared && held.value == proto.SharedValue:
		if reads, err := shareOf(ctx, node, key, token); reads || err != nil {
			return shareVote(err)
		}
	}
	return round.Vote{Outcome: round.Taken}
}

// shareOf asks a node whether token reads key. It extends the share to a millisecond from now,
// which is never shorter, because there is no script that only looks.
func shareOf(ctx context.Context, node backend.Node, key, token string) (reads bool, err error) {
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

// shareVote returns the vote of a node on which a token reads, or that could not tell.
func shareVote(err error) round.Vote {
	if err != nil {
		return round.Vote{Outcome: round.Failed, Err: err}
	}
	return round.Vote{Outcome: round.Granted}
}

// contentOf asks a node what key holds.
func contentOf(ctx context.Context, node backend.Node, key string) (content, error) {
	scripter, ok := backend.As[backend.Scripter](node)
	if !ok {
		return content{}, errNotInspected
	}
	var f finding
	f.read(ask(ctx, scripter, []string{key}))
	return f.lock, f.err
}
