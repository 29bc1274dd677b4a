// Package ending says whether the ctx of a caller has ended, and why, for errors: the ctx's
// own error with the cause that the caller gave, or that a wait was as long as allowed.
package ending

import (
	"context"
	"fmt"
	"time"
)

// slack is how late the timer of a context may be.
const slack = 100 * time.Millisecond

// Of returns err, with which ctx ended, joined with the cause that the caller gave for it,
// if any. It returns nil if err is nil; ctx is then not used.
//
// A deadline counts as soon as it has passed, but the timer that ends ctx may be late. A
// caller that is told that ctx has ended may look at ctx next, so Of waits until ctx has
// ended.
func Of(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() == nil {
		late := time.NewTimer(slack)
		defer late.Stop()
		select {
		case <-ctx.Done():
		case <-late.C: // a context that does not keep its own deadline
		}
	}
	cause := context.Cause(ctx)
	if over, ok := cause.(waitOver); ok {
		return over
	}
	if cause != nil && cause != err {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// Err returns the error of a ctx that has ended. A deadline that has passed counts even if
// ctx has no error yet, because a driver that returns at the deadline can be ahead of the
// timer that ends the context.
func Err(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return nil
}

// Within reports whether ctx has a deadline less than d from now.
func Within(ctx context.Context, d time.Duration, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.Before(now.Add(d))
}

// waitOver ends a wait that was limited. It is not the error of a ctx, because the
// caller's ctx has not ended.
type waitOver struct{ limit time.Duration }

func (e waitOver) Error() string { return fmt.Sprintf("waited for %v", e.limit) }

// Limit returns a copy of ctx for a wait that began at start. It ends after limit, and [Of]
// then says so. The caller must cancel it.
func Limit(ctx context.Context, start time.Time, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, start.Add(limit), waitOver{limit})
}
