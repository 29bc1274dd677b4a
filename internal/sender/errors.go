package sender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// Reasons why an operation was not sent.
var (
	errLate = backend.MarkNotExecuted(timeoutError("not sent: the node did not take it in time"))
	errHung = backend.MarkNotExecuted(hungError("not sent: the node does not answer"))
	errFull = backend.MarkNotExecuted(errors.New("not sent: too many operations wait for the node"))
)

// timeoutError is a text that matches context.DeadlineExceeded.
type timeoutError string

func (e timeoutError) Error() string        { return string(e) }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
func (e timeoutError) Timeout() bool        { return true }

// hungError is the text of an operation that failed at once, because earlier ones have
// timed out. Unlike a timeoutError it does not say that the caller waited in vain.
type hungError string

func (e hungError) Error() string { return string(e) }
func (e hungError) Timeout() bool { return true }

// Late returns what is known about why an operation was not answered although its caller
// waited for the given time. It returns "" if nothing is known.
func (s *Sender) Late(waited time.Duration) string {
	if why := s.hindered(); why != nil {
		return why.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.trip.answers == 0:
		return fmt.Sprintf("no answer so far; the first one takes longer, because a connection has to be made: "+
			"if the network is slow, raise the node timeout of %v with redlock.WithNodeTimeout", waited)
	case s.trip.last > waited:
		return fmt.Sprintf("answers take longer than the node timeout of %v: the last one took %v; raise it with redlock.WithNodeTimeout",
			waited, s.trip.last.Round(time.Millisecond))
	}
	return ""
}

// hindered returns what keeps the node's client from sending anything, or nil.
func (s *Sender) hindered() error {
	if e, ok := backend.As[backend.Explainer](s.node); ok {
		return e.Hindered()
	}
	return nil
}

// unsent returns the error of an operation that is not sent because the node does not
// answer calls within the time for which callers wait.
func (s *Sender) unsent(waited time.Duration) error {
	why := s.hindered()
	switch {
	case why != nil:
	case s.brake.on:
		return s.brake.why
	case s.trip.answers > 0 && s.trip.last > waited:
		why = fmt.Errorf("answers take longer than the node timeout of %v", waited)
	default:
		return errHung
	}
	return backend.MarkNotExecuted(fmt.Errorf("not sent: %w", why))
}

// answered reports whether err, which may be nil, shows that the node works. A refusal
// does. So do a quarantine and a moving slot, which says nothing about other keys. An
// error that says "not now" does not, because it is no use to send more.
func answered(err error) bool {
	return err == nil || errors.Is(err, backend.ErrRefused) || errors.Is(err, backend.ErrQuarantined) || errors.Is(err, backend.ErrMigrating)
}

// worst returns nil if the node answered any operation of the batch, or else the first
// error.
func worst(results []backend.Result) error {
	for _, r := range results {
		if answered(r.Err) {
			return nil
		}
	}
	return results[0].Err
}

// cannotBatch reports whether the node has answered that it cannot batch after all.
// Scripts do not count, because the node may be unable to run only those.
func cannotBatch(ops []backend.Op, results []backend.Result) bool {
	for i, r := range results {
		if ops[i].Kind != backend.OpEval {
			return errors.Is(r.Err, errors.ErrUnsupported)
		}
	}
	return false
}
