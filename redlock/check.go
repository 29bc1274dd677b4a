package redlock

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/quorum"
)

// Check asks the servers whether the lock is still held. It changes nothing there, does
// not extend the lock, and invokes no hook. It returns nil if a quorum held the lock when
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
	if err := l.locker.checkContext(ctx, "check", l.call.key); err != nil {
		return nil, err
	}
	if err := l.lostOrReleased("check"); err != nil {
		return nil, err
	}
	c := l.locker.newCall("check", l.call.key, l.call.settings)
	res := l.ask(ctx, c)
	c.note(res)
	report := newReport(l.locker.group, res.Votes)
	if res.Verdict == quorum.Won {
		return report, l.lostOrReleased("check") // its validity may have ended meanwhile
	}
	err := error(c.failed(ctx, res))
	l.mu.Lock()
	released := wasReleased(l.cause)
	l.mu.Unlock()
	if released {
		return report, l.lostOrReleased("check")
	}
	if res.Verdict == quorum.Gone {
		l.end(err)
	}
	return report, err
}

// ask asks all nodes whether they hold the token, until the answers decide it.
func (l *Lock) ask(ctx context.Context, c *call) quorum.Result {
	type answer struct {
		node int
		vote quorum.Vote
	}
	group := l.locker.group
	votes := make([]quorum.Vote, group.Size()) // all Pending
	answers := make(chan answer, len(votes))
	start := time.Now()
	for i := range votes {
		node, _ := group.Node(i)
		go func() {
			// Longer than Check waits, because the next call can use a connection that is being made.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quorum.CallTimeout)
			defer cancel()
			vote := entryVote(ctx, node, c.fullKey, l.token)
			vote.Latency = time.Since(start)
			answers <- answer{i, vote}
		}()
	}
	timeout := time.NewTimer(l.locker.settings.timeout(c.settings.ttl))
	defer timeout.Stop()
	held, gone := 0, 0
	for range votes {
		select {
		case a := <-answers:
			votes[a.node] = a.vote
			switch a.vote.Outcome {
			case quorum.Granted:
				held++
			case quorum.Taken, quorum.NotHeld:
				gone++
			}
			switch {
			case held >= group.Need():
				return quorum.Result{Verdict: quorum.Won, Votes: votes}
			case len(votes)-gone < group.Need():
				return quorum.Result{Verdict: quorum.Gone, Votes: votes}
			}
			continue
		case <-timeout.C:
			unanswered(votes, quorum.Vote{Outcome: quorum.TimedOut, Latency: time.Since(start), Err: errNoAnswer})
			return quorum.Result{Verdict: quorum.Unavailable, Votes: votes}
		case <-ctx.Done():
			unanswered(votes, quorum.Vote{Outcome: quorum.Pending, Latency: time.Since(start)})
			return quorum.Result{Verdict: quorum.Unavailable, Votes: votes, CtxErr: ctx.Err()}
		}
	}
	return quorum.Result{Verdict: quorum.Unavailable, Votes: votes}
}

// unanswered sets vote for all nodes that have not answered.
func unanswered(votes []quorum.Vote, vote quorum.Vote) {
	for i := range votes {
		if votes[i].Outcome == quorum.Pending {
			votes[i] = vote
		}
	}
}

// entryVote asks one node whether key holds token.
func entryVote(ctx context.Context, node backend.Node, key, token string) quorum.Vote {
	held, err := contentOf(ctx, node, key)
	switch {
	case err != nil:
		return quorum.Vote{Outcome: quorum.Failed, Err: err}
	case !held.found:
		return quorum.Vote{Outcome: quorum.NotHeld}
	case held.value != token:
		return quorum.Vote{Outcome: quorum.Taken}
	}
	return quorum.Vote{Outcome: quorum.Granted}
}

// contentOf asks a node what key holds.
func contentOf(ctx context.Context, node backend.Node, key string) (content, error) {
	scripter, ok := backend.As[backend.Scripter](node)
	if !ok {
		return content{}, errNotInspected
	}
	var f finding
	f.read(look(ctx, scripter, []string{key}))
	return f.lock, f.err
}
