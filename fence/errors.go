package fence

import (
	"errors"
	"fmt"
)

var (
	// ErrStale says that the resource has seen a higher token, because another holder has acquired
	// the lock since. Nothing was written. To go on, acquire the lock again and read again.
	ErrStale = errors.New("stale token")

	// ErrEnded says that the transaction of a Do ended before fn returned. Either fn ended it, for
	// example with the text COMMIT or, on MySQL, with DDL, or the database did and answered a
	// statement of fn with an error. What fn wrote before that was committed or rolled back as a
	// whole. What fn wrote after that may be in the database without the protection of the fence.
	// On MySQL it is rolled back, unless fn has switched autocommit on.
	//
	// If fn ended the transaction, or ignored the error of a statement, this is a defect of fn: read
	// the data again, under a new lock, before going on. If fn returned that error and wrote nothing
	// after it, nothing was written, and Do may be called again.
	ErrEnded = errors.New("transaction ended early")

	// ErrCommitUnknown says that the connection broke, or ctx ended, before the answer to COMMIT
	// arrived. Either all of what fn wrote is in the database, with the announcement, or none of it.
	ErrCommitUnknown = errors.New("outcome of the commit unknown")
)

// ended is an ErrEnded with the reason that shows it.
func ended(reason error) error {
	return fmt.Errorf("fence: %w, by a statement of fn, or by the database with an error that fn saw, or fn left rows open; "+
		"what fn wrote after that may be there without the fence: %w", ErrEnded, reason)
}

// A StaleError says which token was refused, and why. It matches [ErrStale]. It is
// always a pointer.
type StaleError struct {
	Resource string // empty with a [Guard]
	Token    uint64 // that was shown
	Highest  uint64 // that was seen
}

func (e *StaleError) Error() string {
	if e.Resource == "" {
		return fmt.Sprintf("fence: stale token %d: %d was seen", e.Token, e.Highest)
	}
	return fmt.Sprintf("fence: %q: stale token %d: %d was seen", e.Resource, e.Token, e.Highest)
}

// Unwrap returns [ErrStale].
func (e *StaleError) Unwrap() error { return ErrStale }
