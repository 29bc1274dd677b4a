package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/election"
)

// A leader that takes longer than a grace to stop after the end of its own ctx still holds the
// lock, so nobody is told that another may lead.
func TestSlowStopIsNoOverstay(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithCancel(t.Context())
		both, stop := context.WithCancel(t.Context())
		p.campaign(ctx, p.candidate("x"), election.Callbacks{
			Lead:      func(ctx context.Context, _ uint64) error { <-ctx.Done(); time.Sleep(time.Minute); return nil },
			Overstays: func(uint64) { t.Error("nobody else can lead") },
		})
		p.campaign(both, p.candidate("y"), election.Callbacks{Lead: untilEnd})
		cancel()
		time.Sleep(59 * time.Second)
		p.order("x")
		time.Sleep(5 * time.Second)
		p.order("x", "y")
		stop()
	})
}
