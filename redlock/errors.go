package redlock

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/text"
)

var (
	// ErrTaken says that somebody else holds the lock.
	ErrTaken = errors.New("taken")

	// ErrUnavailable says that too many nodes failed or did not answer in time,
	// so that nobody can tell. What was left behind is cleaned up in the background.
	ErrUnavailable = errors.New("unavailable")

	// ErrNotHeld says that the lock was lost: it expired, was deleted or belongs
	// to somebody else by now. The protected work must stop.
	ErrNotHeld = errors.New("not held")

	// ErrReleased is the cause of the end of a [Lock]'s contexts when it was
	// unlocked.
	ErrReleased = errors.New("redlock: the lock was released")

	// ErrClosed says that the Locker was closed. It is also the cause of the end of a
	// [Lock]'s contexts by [Locker.Shutdown].
	ErrClosed = errors.New("redlock: the Locker is closed")

	errZero = errors.New("redlock: the Locker was not made by New")
)

// A QuorumError says how an operation failed and what each node answered. It
// matches one of [ErrTaken], [ErrUnavailable] and [ErrNotHeld], and if the caller's
// ctx ended the operation, that one's error and its [context.Cause]. It does not
// match the errors of the nodes: a node's time-out is not the caller's. These are
// in the reports. It is always a pointer, and must not be changed.
type QuorumError struct {
	Op  string // "lock", "extend", "unlock", "release", "resume", "check" or "end quarantine"
	Key string // as it is on the servers, with the prefix; of "end quarantine" that of the marker

	// Need is how many nodes make a quorum.
	Need int

	// Tries is how many rounds there were, and Rounds are the reports of the
	// last of them, 16 at most, in order. Both are empty where no node was asked,
	// as by a [Mutex] that is locked in this process.
	Tries  int
	Rounds []Report

	// Elapsed is how long it all took.
	Elapsed time.Duration

	class  error  // what it matches
	ctxErr error  // of the caller's ctx, if that ended it
	detail string // more about it, if anything
}

// Error says on one line what failed, on which nodes of the last round, and why; of
// the round before, if ctx cut the last one off before enough nodes had answered to
// tell. The lock's token is not in it. Text that comes from servers is shortened, and
// escaped where it is not printable; so is the key.
func (e *QuorumError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "redlock: %s %s: %v", e.Op, text.Quote(e.Key), e.class)
	if e.detail != "" {
		fmt.Fprintf(&b, ": %s", e.detail)
	}
	if e.ctxErr != nil {
		fmt.Fprintf(&b, ": %v", e.ctxErr)
	}
	if e.Tries > 1 {
		fmt.Fprintf(&b, " after %d tries in %v", e.Tries, e.Elapsed.Round(time.Millisecond))
	}
	if r := e.Last(); r != nil {
		fmt.Fprintf(&b, ": %d of %d nodes, need %d (%v)", r.Count(Granted), len(r), e.Need, r)
	}
	return b.String()
}

// Last returns the report of the round that tells why: the last one, or the one before if ctx
// cut the last one off before so many nodes had said something against it that it could not
// succeed. It is nil if no node was asked.
func (e *QuorumError) Last() Report {
	n := len(e.Rounds)
	if n == 0 {
		return nil
	}
	last := e.Rounds[n-1]
	if n == 1 {
		return last
	}
	cut := slices.ContainsFunc(last, func(r NodeReport) bool { return r.Outcome == Pending && r.Latency > 0 })
	against := last.Count(Taken) + last.Count(Failed) + last.Count(Quarantined)
	if e.ctxErr != nil && against == 0 || (cut || e.ctxErr != nil && last.Count(Pending) > 0) && against <= len(last)-e.Need {
		return e.Rounds[n-2]
	}
	return last
}

// Unwrap returns the errors that e matches.
func (e *QuorumError) Unwrap() []error {
	if e.ctxErr != nil {
		return []error{e.class, e.ctxErr}
	}
	return []error{e.class}
}
