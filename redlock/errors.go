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
	// ErrTaken means that somebody else holds the lock.
	ErrTaken = errors.New("taken")

	// ErrUnavailable means that too many nodes failed or did not answer in time, so that
	// nobody can tell. Whatever the call left on nodes is deleted in the background.
	ErrUnavailable = errors.New("unavailable")

	// ErrNotHeld means that the lock was lost: it expired, was deleted, or belongs to
	// somebody else by now. The protected work must stop.
	ErrNotHeld = errors.New("not held")

	// ErrReleased is the cause with which a [Lock]'s contexts end when it is unlocked.
	ErrReleased = errors.New("redlock: the lock was released")

	// ErrClosed means that the Locker was closed. It is also the cause with which a
	// [Lock]'s contexts end in [Locker.Shutdown].
	ErrClosed = errors.New("redlock: the Locker is closed")

	errZero = errors.New("redlock: the Locker was not made by New")
)

// A QuorumError says how an operation failed and what each node answered. It matches one
// of [ErrTaken], [ErrUnavailable] and [ErrNotHeld]. If the caller's ctx ended the
// operation, it also matches ctx's error and its [context.Cause]. It does not match the
// errors of nodes, which are in the reports, because a node's time-out is not the
// caller's.
//
// It is always a pointer, and must not be changed.
type QuorumError struct {
	Op  string // "lock", "acquire", "extend", "unlock", "release", "resume", "check", "break", "inspect" ([Semaphore.InUse]) or "end quarantine"
	Key string // as it is on the servers, with the prefix; for "end quarantine" the marker's

	// Need is how many nodes make a quorum.
	Need int

	// Tries is the number of rounds. Rounds has the reports of the last 16 of them, in
	// order. Both are empty if no node was asked, for example because a [Mutex] is locked
	// in this process.
	Tries  int
	Rounds []Report

	// Elapsed is how long the operation took.
	Elapsed time.Duration

	class  error  // one of the three that it matches
	ctxErr error  // of the caller's ctx, if that ended it
	detail string // an additional explanation, or empty
}

// Error says on one line what failed, on which nodes of the round that [QuorumError.Last]
// returns, and why. It does not contain the lock's token. The key and all text from
// servers are shortened, and escaped if they are not printable.
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

// Last returns the report of the round that explains the error. That is the last round.
// If ctx cut that round off before enough nodes had answered to decide it, Last returns
// the round before it. Last returns nil if no node was asked.
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
