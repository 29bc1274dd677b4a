package redlock

import (
	"context"
	"errors"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/round"
)

// ended returns errLost if the wait for key i has ended, with the result res, because
// another key was lost. Otherwise it returns the error of the call.
func (j *joint) ended(ctx, limited context.Context, i int, res round.Result) error {
	if res.CtxErr != nil && limited.Err() == nil && j.lost() >= 0 {
		return errLost
	}
	return j.failed(ctx, i, res)
}

// failed returns the error of a call that could not acquire key i. An attempt that was cut
// off proves nothing, so the last one before it counts. If key i was free then, or was not
// asked for, the time was spent on another key.
func (j *joint) failed(ctx context.Context, i int, res round.Result) error {
	if res.Verdict == round.Closed {
		return ErrClosed
	}
	c := j.calls[i]
	switch {
	case res.CtxErr == nil || res.Verdict == round.Behind:
	case c.complete == round.Lost:
		res.Verdict = round.Lost
	case c.complete != round.Unavailable && c.complete != round.Late && j.last != nil:
		return j.spent(res.Ctx, res.CtxErr)
	}
	return c.hint(ctx, c.failed(res.Ctx, res))
}

// spent returns the error of a call that had to wait for a taken key for so long that its
// ctx has ended, with err, before it had all keys.
func (j *joint) spent(ctx context.Context, err error) error {
	e := j.last.quorumError(ErrTaken)
	e.ctxErr = ending.Of(ctx, err)
	return e
}

// cutOff reports whether err is of a round that ctx ended before all nodes had answered.
// Otherwise the nodes are the reason, and the error says so.
func cutOff(err error) bool {
	var e *QuorumError
	return errors.As(err, &e) && e.ctxErr != nil
}
