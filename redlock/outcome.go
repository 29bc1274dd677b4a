package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
)

// note records a round.
func (c *call) note(res quorum.Result) {
	c.tries++
	c.last = res
	if res.Verdict != quorum.Won {
		c.keep(res)
	}
}

// keepRounds is how many rounds an error reports. These are the last ones, because a
// caller may have waited for days.
const keepRounds = 16

// keep records the report of a round that failed.
func (c *call) keep(res quorum.Result) {
	if len(c.rounds) == keepRounds {
		c.rounds = append(c.rounds[:0], c.rounds[1:]...)
	}
	c.rounds = append(c.rounds, newReport(c.locker.group, res.Votes))
}

// failed returns the error of the last round, which did not win.
func (c *call) failed(ctx context.Context, res quorum.Result) *QuorumError {
	e := c.quorumError(ErrUnavailable)
	e.ctxErr = endOf(ctx, res.CtxErr)
	switch res.Verdict {
	case quorum.Lost:
		e.class = ErrTaken
	case quorum.Gone:
		e.class = ErrNotHeld
	}
	return e
}

// behind returns the error of a call whose ctx ended while it waited behind others of
// this Locker, so that it made no attempt.
func (c *call) behind(ctx context.Context, ctxErr error) *QuorumError {
	e := c.quorumError(ErrTaken)
	e.ctxErr = endOf(ctx, ctxErr)
	e.detail = "other callers of the same Locker wait for it"
	return e
}

// away returns the error of a call that gives up because other callers of this Locker
// found too many nodes unavailable.
func (c *call) away() *QuorumError {
	e := c.quorumError(ErrUnavailable)
	e.detail = "other callers of the same Locker find too many nodes unavailable"
	return e
}

// late returns the error of a round that won after the validity was over.
func (c *call) late() *QuorumError {
	c.keep(c.last)
	e := c.quorumError(ErrUnavailable)
	e.detail = fmt.Sprintf("granted too late, after the validity of a TTL of %v", c.locker.settings.lease(c.settings))
	return e
}

func (c *call) quorumError(class error) *QuorumError {
	return &QuorumError{
		Op: c.op, Key: c.fullKey, Need: c.locker.group.Need(), class: class,
		Tries: c.tries, Rounds: append([]Report(nil), c.rounds...), Elapsed: c.elapsed(),
	}
}

func (c *call) elapsed() time.Duration { return time.Since(c.start.Time()) }

// tell calls hook, if it is set, with the state of the call.
func (c *call) tell(ctx context.Context, hook func(context.Context, Event), err error) {
	c.tellHeld(ctx, hook, 0, err)
}

// tellHeld is tell for a call that ended a lock. held is how long that was held.
func (c *call) tellHeld(ctx context.Context, hook func(context.Context, Event), held time.Duration, err error) {
	if hook == nil {
		return
	}
	hook(ctx, Event{
		Key: c.fullKey, Tries: c.tries, Elapsed: c.elapsed(), Waited: c.waited, Held: held,
		Report: newReport(c.locker.group, c.last.Votes), Err: err,
	})
}
