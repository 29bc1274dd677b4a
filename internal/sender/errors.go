package sender

import (
	"context"
	"errors"

	"github.com/quorumlock/quorumlock/backend"
)

// Why an operation was not sent.
var (
	errLate = backend.MarkNotExecuted(timeoutError("not sent: the node did not take it in time"))
	errHung = backend.MarkNotExecuted(errors.New("not sent: the node does not answer"))
	errFull = backend.MarkNotExecuted(errors.New("not sent: too many operations wait for the node"))
)

// timeoutError is a text that matches context.DeadlineExceeded.
type timeoutError string

func (e timeoutError) Error() string        { return string(e) }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// answered reports whether err, if any, shows that the node is well. A refusal does, and
// so do a quarantine and a slot that is on the move, which says nothing about other keys.
// An error that says "not now" does not: it is no use to send more.
func answered(err error) bool {
	return err == nil || errors.Is(err, backend.ErrRefused) || errors.Is(err, backend.ErrQuarantined) || errors.Is(err, backend.ErrMigrating)
}

// worst returns nil if the node answered any of the batch, else the first error.
func worst(results []backend.Result) error {
	for _, r := range results {
		if answered(r.Err) {
			return nil
		}
	}
	return results[0].Err
}

// cannotBatch reports whether the node has answered that it cannot batch, after
// all. Of a script it may say that alone.
func cannotBatch(ops []backend.Op, results []backend.Result) bool {
	for i, r := range results {
		if ops[i].Kind != backend.OpEval {
			return errors.Is(r.Err, errors.ErrUnsupported)
		}
	}
	return false
}
