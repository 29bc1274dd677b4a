package election_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/redlock"
)

// A lease above the limit of a TTL is an error before any I/O.
func TestCampaignWithLongTTL(t *testing.T) {
	node := faulty.NewFaultNode(memory.New())
	locker, err := redlock.New([]backend.Node{node})
	if err != nil {
		t.Fatal(err)
	}
	for _, ttl := range []time.Duration{11 * 365 * 24 * time.Hour, math.MaxInt64} {
		err = election.Campaign(t.Context(), locker, "job", election.Callbacks{Lead: func(context.Context, uint64) error { return errors.New("led") }}, redlock.WithTTL(ttl))
		if err == nil || !strings.Contains(err.Error(), "must be at most 87600h") {
			t.Errorf("a TTL of %v: %v", ttl, err)
		}
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("%d calls of the node", len(calls))
	}
}

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
