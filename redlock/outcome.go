package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/round"
)

// begin invokes the hook Begin. The other hooks of the call get the ctx that it returns.
func (c *call) begin(ctx context.Context) {
	c.ctx = ctx
	if hook := c.locker.settings.hooks.Begin; hook != nil {
		if with := hook(ctx, Event{Op: c.hookOp(), Key: c.fullKey, Shared: c.shared, Automatic: c.automatic}); with != nil {
			c.ctx = with
		}
	}
}

// hookOp returns the operation for hooks. Unlike errors, they tell a call that waits from
// one that does not. A permit is a lock on a slot, and a shared lock has a field of its own.
func (c *call) hookOp() string {
	switch {
	case c.op != "lock" && c.op != "acquire" && c.op != opShared:
		return c.op
	case c.settings.wait == once:
		return "try lock"
	}
	return "lock"
}

// note records a round of a call that has begun, and invokes the hook Round. ctx is the
// context that ended the round, if one did.
func (c *call) note(ctx context.Context, res round.Result) {
	c.record(res)
	hook := c.locker.settings.hooks.Round
	if hook == nil {
		return
	}
	var err error
	if res.Verdict != round.Won {
		err = c.failed(ctx, res)
	}
	c.tell(hook, err)
}

// record records a round.
func (c *call) record(res round.Result) {
	c.tries++
	c.last = res
	if res.Verdict != round.Won {
		c.keep(res)
	}
}

// keepRounds is how many rounds an error reports. These are the last ones, because a
// caller may have waited for days.
const keepRounds = 16

// keep records the report of a round that failed.
func (c *call) keep(res round.Result) {
	if len(c.rounds) == keepRounds {
		c.rounds = append(c.rounds[:0], c.rounds[1:]...)
	}
	c.rounds = append(c.rounds, newReport(c.locker.group, res.Votes))
}

// failed returns the error of a call with the result res, which is not that it won or that
// the Locker was closed. ctx is the context that ended it, if one did.
func (c *call) failed(ctx context.Context, res round.Result) *QuorumError {
	e := c.quorumError(ErrUnavailable)
	e.ctxErr = ending.Of(ctx, res.CtxErr)
	switch res.Verdict {
	case round.Lost:
		e.class = ErrTaken
	case round.Gone:
		e.class = ErrNotHeld
	case round.Late:
		e.detail = fmt.Sprintf("granted too late, after the validity of a TTL of %v", c.locker.settings.lease(c.settings))
	case round.Behind:
		e.class = ErrTaken
		e.detail = "other callers of the same Locker wait for it"
	case round.Away:
		e.detail = "other callers of the same Locker find too many nodes unavailable"
	}
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
func (c *call) tell(hook func(context.Context, Event), err error) { c.tellHeld(hook, 0, err) }

// tellHeld is tell for a call that ended a lock. held is how long that was held.
func (c *call) tellHeld(hook func(context.Context, Event), held time.Duration, err error) {
	if hook == nil {
		return
	}
	hook(c.ctx, Event{
		Op: c.hookOp(), Automatic: c.automatic, Key: c.fullKey, Shared: c.shared, Tries: c.tries, Elapsed: c.elapsed(), Waited: c.waited, Held: held,
		Report: newReport(c.locker.group, c.last.Votes), Err: err,
	})
}
