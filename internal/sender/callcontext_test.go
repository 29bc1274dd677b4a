package sender

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Every call has at least CallTimeout, and not much more.
func TestCallContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls callContext
		made := map[context.Context]bool{}
		for range 1000 {
			ctx := calls.get(CallTimeout+callShare, callShare, time.Now())
			made[ctx] = true
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); !ok || left < CallTimeout || left > CallTimeout+callShare || ctx.Err() != nil {
				t.Fatalf("a call has %v, %v", left, ctx.Err())
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(made) < 10 || len(made) > 30 {
			t.Errorf("%d contexts for 1000 calls in 10s", len(made))
		}
	})
}
