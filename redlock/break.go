package redlock

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// Break releases a lock whose holder is gone, for an operator who cannot wait until it
// expires. fingerprint names the holder, as [Locker.Inspect] shows it. A node deletes the
// lock only if this holder has it, so a newer holder keeps its lock, and so do the other
// readers of a shared lock. The next waiter is notified. A minimum hold ([WithMinHold]) ends too; fencing counters stay as they are. If
// the holder is alive after all, it learns of this from its next extension (its contexts
// end, and the hook Lost is called), or at [Lock.Until]. Until then two have the lock, and
// only fencing tokens protect the resource.
//
// Break asks all nodes who has the lock, then all of them to delete it. Each step takes the
// node timeout at most, or until ctx ends. The error matches [ErrNotHeld] if no node has
// the lock for this holder. (Each node names the first 100 readers of a shared lock, in the
// order in which their shares end. The error says so if a node has more.) It matches
// [ErrUnavailable] if too few nodes answered, and says so if nothing was deleted. A deletion
// without an answer is repeated in the background for one TTL (see [Locker.Close]). Bad
// arguments, and a ctx that ends before the second step, are plain errors. The report is
// that of the last step: [Granted] is a node that deleted the lock, and [Taken] a node on
// which anybody has it. Each attempt to delete is one line in the log ([WithLogger]).
func (l *Locker) Break(ctx context.Context, key, fingerprint string) (Report, error) {
	const op = "break"
	if err := l.check(op, key); err != nil {
		return nil, err
	}
	if !proto.IsFingerprint(fingerprint) {
		return nil, fmt.Errorf("redlock: %s %s: a fingerprint of %s: must be 8 of the digits 0 to 9 and a to f, as Inspect shows it",
			op, text.Quote(l.settings.prefix+key), text.Quote(fingerprint))
	}
	if err := l.checkContext(ctx, op, key); err != nil {
		return nil, err
	}
	c := l.newCall(op, key, l.settings.call)
	found, err := inspect.Find(ctx, l.group, c.fullKey, fingerprint, l.settings.NodeTimeout)
	if err != nil {
		return nil, notAnswered(ctx, op, c.fullKey, err)
	}
	c.shared = found.Shared
	seen := newReport(l.group, found.Votes)
	switch {
	case found.Answered < l.group.Need():
		return seen, c.unbroken(ErrUnavailable, seen, "too few nodes say who holds it, and nothing was deleted")
	case found.Token == "":
		detail := fmt.Sprintf("no node has it for the holder #%s, and nothing was deleted", fingerprint)
		if found.More {
			detail += fmt.Sprintf("; only the first %d readers of each node were searched, and there are more", inspect.Most)
		}
		return seen, c.unbroken(ErrNotHeld, seen, detail)
	}
	return c.delete(ctx, found.Token, found.Holds)
}

// delete is the second step of a Break, and logs it. holds says which nodes had the token.
func (c *call) delete(ctx context.Context, token string, holds []bool) (Report, error) {
	l := c.locker
	a := l.group.Adopt(c.fullKey, token, c.settings.ttl)
	if c.shared {
		a.Share()
	}
	res := a.ReleaseAll(ctx, l.settings.NodeTimeout)
	report := newReport(l.group, res.Votes)
	deleted, absent, kept := report.Count(Granted), report.Count(NotHeld), false
	for i, n := range report {
		kept = kept || holds[i] && n.Outcome != Granted && n.Outcome != NotHeld
	}
	line := []any{"key", text.Name(c.fullKey), "owner", text.Name(proto.OwnerOf(token)), "fingerprint", proto.Fingerprint(token), "nodes", report.String()}
	var failure *QuorumError
	switch {
	case deleted+absent < l.group.Need(), deleted == 0 && kept:
		failure = c.unbroken(ErrUnavailable, report, "")
		failure.ctxErr = ending.Of(ctx, res.CtxErr)
	case deleted == 0:
		failure = c.unbroken(ErrNotHeld, report, fmt.Sprintf("the lock of the holder #%s has just ended", proto.Fingerprint(token)))
	default:
		l.settings.Logger.Warn("redlock: lock broken", line...)
		return report, nil
	}
	l.settings.Logger.Warn("redlock: lock not broken", append(line, "error", failure.class)...)
	return report, failure
}

// unbroken returns the error of a Break whose last step ended with that report.
func (c *call) unbroken(class error, r Report, detail string) *QuorumError {
	c.tries, c.rounds = 1, []Report{r}
	e := c.quorumError(class)
	e.detail = detail
	return e
}
