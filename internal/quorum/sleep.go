package quorum

import (
	"context"
	"time"
)

// Sleep waits for d. If ctx has a deadline before that, it waits until shortly before the
// deadline, so that there is time for a last attempt. If the deadline is nearer than
// shortly, or ctx ends, it returns ctx's error.
func Sleep(ctx context.Context, d, shortly time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline) - max(shortly, time.Millisecond); left < d {
			if left <= 0 { // the last attempt was made
				<-ctx.Done()
				return ctx.Err()
			}
			d = left
		}
	}
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
