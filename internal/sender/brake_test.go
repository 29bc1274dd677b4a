package sender

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// An operation that is not sent to a node that hangs fails with a time-out, but not with one of its
// own: its caller has not waited. This also holds if the node does not even take connections.
func TestHungNodeIsATimeout(t *testing.T) {
	for name, err := range map[string]error{"calls": context.DeadlineExceeded, "connections": backend.MarkNotExecuted(context.DeadlineExceeded)} {
		t.Run(name, func(t *testing.T) {
			var b brake
			b.fail(err, time.Now(), time.Now())
			var timeout interface{ Timeout() bool }
			if !errors.As(b.why, &timeout) || !timeout.Timeout() || errors.Is(b.why, context.DeadlineExceeded) || !backend.NotExecuted(b.why) {
				t.Errorf("operations fail with %v", b.why)
			}
		})
	}
}
