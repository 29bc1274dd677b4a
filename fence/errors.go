package fence

import (
	"errors"
	"fmt"
)

// ErrStale says that the resource has seen a higher token: somebody else has got
// the lock since. Nothing was written. The work is void; whoever wants to go on has
// to acquire the lock anew and to read again.
var ErrStale = errors.New("stale token")

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
