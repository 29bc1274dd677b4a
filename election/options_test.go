package election_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
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

// A campaign works with each way to wait for a lock, whether it is a default or an option of
// the campaign.
func TestCampaignWithRetry(t *testing.T) {
	fixed := redlock.Fixed(100 * time.Millisecond)
	for name, policy := range map[string]redlock.RetryPolicy{
		"the zero policy": {},
		"polls":           fixed,
		"polls at most":   fixed.Limit(1000),
		"polls at first":  fixed.ThenQueue(time.Second),
	} {
		given := redlock.WithRetry(policy)
		for where, opts := range map[string]struct {
			locker   []redlock.Option
			campaign []redlock.LockOption
		}{
			"a default": {locker: []redlock.Option{given}},
			"an option": {campaign: []redlock.LockOption{given}},
			"both":      {[]redlock.Option{redlock.WithRetry(fixed)}, []redlock.LockOption{given}},
		} {
			t.Run(name+", "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					node := faulty.NewFaultNode(memory.New())
					locker, err := redlock.New([]backend.Node{node}, opts.locker...)
					if err != nil {
						t.Fatal(err)
					}
					node.Set(faulty.Refuse(nil))
					time.AfterFunc(30*time.Second, func() { node.Set() }) // longer than the default patience
					done := errors.New("done")
					err = election.Campaign(t.Context(), locker, "job", election.Callbacks{Lead: func(context.Context, uint64) error { return done }}, opts.campaign...)
					if !errors.Is(err, done) {
						t.Errorf("Campaign: %v", err)
					}
					time.Sleep(time.Minute) // unused subscriptions end
				})
			})
		}
	}
}

// A patience that a policy for polling rejects is an error, if it was given.
func TestCampaignWithPatience(t *testing.T) {
	locker, err := redlock.New([]backend.Node{memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	led := errors.New("led")
	err = election.Campaign(t.Context(), locker, "job", election.Callbacks{Lead: func(context.Context, uint64) error { return led }},
		redlock.WithRetry(redlock.Fixed(time.Second)), redlock.WithPatience(time.Second))
	if err == nil || !strings.Contains(err.Error(), "a patience") {
		t.Errorf("Campaign: %v", err)
	}
}
