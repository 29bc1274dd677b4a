package member

import (
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

// Late adds to err what is known about the reason. err is the time-out of an operation
// whose caller has waited for the given time.
func (m *Member) Late(err error, waited time.Duration) error {
	why := m.Sender.Late(waited)
	if why == "" && backend.NotExecuted(err) {
		why = err.Error() // it was not even sent
	}
	if why == "" {
		return err
	}
	return &LateError{why, err}
}
