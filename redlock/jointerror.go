package redlock

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/joint"
	"github.com/quorumlock/quorumlock/internal/round"
)

// explain returns the error of a call that has failed with err.
func (j *jointCall) explain(ctx context.Context, err error) error {
	f, ok := err.(*joint.Failure)
	if !ok {
		return err
	}
	c := j.keys[f.Key].call
	switch f.Reason {
	case joint.Lost:
		e := c.quorumError(ErrUnavailable)
		e.detail, e.ctxErr = fmt.Sprintf("it was lost while the call waited for another key (%v)", f.Err), ending.Of(f.Result.Ctx, f.Result.CtxErr)
		return e
	case joint.NotExtended:
		if f.Awaited != joint.None && f.Result.CtxErr != nil && cutOff(f.Err) {
			return j.spent(f)
		}
		return f.Err
	}
	return j.refused(ctx, f)
}

// refused returns the error of a call that could not acquire a key. An attempt that was cut
// off proves nothing, so the last one before it counts. If the key was free then, or was not
// asked for, the time was spent on another key.
func (j *jointCall) refused(ctx context.Context, f *joint.Failure) error {
	c, res := j.keys[f.Key].call, f.Result
	if res.Verdict == round.Closed {
		return ErrClosed
	}
	switch {
	case res.CtxErr == nil || res.Verdict == round.Behind:
	case c.complete == round.Lost:
		res.Verdict = round.Lost
	case c.complete != round.Unavailable && c.complete != round.Late && f.Awaited != joint.None:
		return j.spent(f)
	}
	return c.hint(ctx, c.failed(res.Ctx, res))
}

// spent returns the error of a call that had to wait for a taken key for so long that its
// ctx has ended before it had all keys.
func (j *jointCall) spent(f *joint.Failure) error {
	e := j.keys[f.Awaited].call.quorumError(ErrTaken)
	e.ctxErr = ending.Of(f.Result.Ctx, f.Result.CtxErr)
	return e
}

// cutOff reports whether err is of a round that ctx ended before all nodes had answered.
// Otherwise the nodes are the reason, and the error says so.
func cutOff(err error) bool {
	var e *QuorumError
	return errors.As(err, &e) && e.ctxErr != nil
}
