package quorum

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A LateError explains why a node timed out, if more is known than the time-out itself.
// It matches [context.DeadlineExceeded].
type LateError struct {
	why string
	err error
}

func (e *LateError) Error() string { return e.why }

func (e *LateError) Unwrap() error { return e.err }

// late adds to err what is known about the reason. err is the time-out of an operation
// whose caller has waited for the given time.
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
