package attempt

import (
	"context"
	"time"
)

// ended returns the error of a context that has ended. A deadline that has passed counts
// even if ctx has no error yet, because a driver that returns at the deadline can be
// ahead of the timer that ends the context.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return nil
}

// endsWithin reports whether ctx has a deadline less than d from now.
func endsWithin(ctx context.Context, d time.Duration, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.Before(now.Add(d))
}
