package election_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/redlock"
)

// Options of a lock that extends itself are options of a campaign.
func TestCampaignWithMaxHold(t *testing.T) {
	locker, err := redlock.New([]backend.Node{memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	done := errors.New("done")
	err = election.Campaign(t.Context(), locker, "job", election.Callbacks{Lead: func(context.Context, uint64) error { return done }}, redlock.WithMaxHold(time.Hour))
	if !errors.Is(err, done) {
		t.Errorf("Campaign: %v", err)
	}
}
