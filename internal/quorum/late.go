package quorum

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A LateError is why a node timed out, if more is known than that it did. It matches
// [context.DeadlineExceeded].
type LateError struct {
	why string
	err error
}

// Error says why the node timed out.
func (e *LateError) Error() string { return e.why }

// Unwrap returns the error of the time-out.
func (e *LateError) Unwrap() error { return e.err }

// late returns err, with which an operation of m timed out after its caller had waited for
// so long, with what is known about the reason.
func (m *member) late(err error, waited time.Duration) error {
	why := m.sender.Late(waited)
	if why == "" && backend.NotExecuted(err) {
		why = err.Error() // it was not even sent
	}
	if why == "" {
		return err
	}
	return &LateError{why, err}
}

// late returns a function that returns the error of node i, which has not answered within
// timeout.
func (a *Attempt) late(timeout time.Duration) func(i int) error {
	return func(i int) error { return a.group.members[i].of(a.key).late(context.DeadlineExceeded, timeout) }
}
