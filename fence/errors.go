package fence

import (
	"errors"
	"fmt"
)

var (
	// ErrStale means that the resource has seen a higher token, because another holder
	// has acquired the lock since. Nothing was written. To continue, acquire the lock
	// again and read again.
	ErrStale = errors.New("stale token")

	// ErrEnded means that the transaction of a Do ended before fn returned. Either fn
	// ended it, for example with the text COMMIT or, on MySQL, with DDL. Or the database
	// ended it, and answered a statement of fn with an error. What fn wrote before that
	// was committed or rolled back as a whole. What fn wrote after that may be in the
	// database without the protection of the fence. On MySQL it is rolled back, unless fn
	// has switched autocommit on.
	//
	// If fn ended the transaction, or ignored the error of a statement, correct fn.
	// Before you continue, read the data again under a new lock. If fn returned that
	// error and wrote nothing after it, nothing was written, and Do may be called again.
	ErrEnded = errors.New("transaction ended early")

	// ErrCommitUnknown means that the connection broke, or ctx ended, before the answer
	// to COMMIT arrived, or that the answer leaves the outcome open. Either all of what fn
	// wrote is in the database, with the announcement, or none of it.
	ErrCommitUnknown = errors.New("outcome of the commit unknown")
)

// ended returns an ErrEnded. reason is the error that shows it.
func ended(reason error) error {
	return fmt.Errorf("fence: %w, by a statement of fn, or by the database with an error that fn saw, or fn left rows open; "+
		"what fn wrote after that may be there without the fence: %w", ErrEnded, reason)
}

// A StaleError says which token was rejected, and why. It matches [ErrStale], and is
// always a pointer.
type StaleError struct {
	Resource string // empty with a [Guard]
	Token    uint64 // the token that was rejected
	Highest  uint64 // the highest token that the resource has seen
}

func (e *StaleError) Error() string {
	if e.Resource == "" {
		return fmt.Sprintf("fence: stale token %d: %d was seen", e.Token, e.Highest)
	}
	return fmt.Sprintf("fence: %q: stale token %d: %d was seen", e.Resource, e.Token, e.Highest)
}

// Unwrap returns [ErrStale].
func (e *StaleError) Unwrap() error { return ErrStale }
