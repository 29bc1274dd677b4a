package lease

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The Err of a context is not nil once its lease has ended, even if the goroutine that ends the
// contexts has not come to this one yet.
func TestContextOfAnEndedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.begin("k", time.Minute, 0)
		var ctx Context
		o.handle.Bind(&ctx, t.Context())
		why := errors.New("lost")
		o.mu.Lock()
		o.cause = why // as end does, before it ends the contexts
		o.mu.Unlock()
		if ctx.Err() == nil || context.Cause(&ctx) != why {
			t.Errorf("%v, because of %v; want %v", ctx.Err(), context.Cause(&ctx), why)
		}
		select {
		case <-ctx.Done():
		default:
			t.Error("its channel is open")
		}
		o.Attempt().Abandon()
	})
}
