package redlock

import (
	"context"

	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/round"
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
	if res.Verdict == round.Gone && !c.shared && l.Shared() { // a Downgrade came before the question
		c.shared = true
		res = l.ask(ctx, c)
	}
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

// ask asks the servers whether the lock is still held, for c.
func (l *Lock) ask(ctx context.Context, c *call) round.Result {
	return inspect.Check(ctx, l.locker.group, c.fullKey, l.lease.Attempt().Token(), c.shared, l.locker.settings.Timeout(c.settings.ttl))
}
