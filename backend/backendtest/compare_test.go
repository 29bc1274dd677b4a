package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

func TestCompare(t *testing.T) {
	for seed := range uint64(20) {
		if err := backendtest.Compare(t.Context(), memory.New(), memory.New(), "compare:", seed, 300); err != nil {
			t.Fatal(err)
		}
	}
	// Slow nodes are no different ones.
	synctest.Test(t, func(t *testing.T) {
		slow := backendtest.NewFaultNode(memory.New())
		slow.Set(backendtest.Delay(20 * time.Millisecond))
		if err := backendtest.Compare(t.Context(), memory.New(), slow, "compare:", 1, 300); err != nil {
			t.Error(err)
		}
	})
	if err := backendtest.Compare(t.Context(), backendtest.Bare(memory.New()), memory.New(), "compare:", 1, 300); err != nil {
		t.Error(err)
	}
}

func TestCompareTellsNodesApart(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault backendtest.Fault
	}{
		{"another answer", backendtest.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			r.OK = r.OK || op.Kind == backend.OpExtend
			return r
		})},
		{"an error", backendtest.On(backendtest.Kind(backend.OpEvalDelete), backendtest.LoseReply(nil))},
		{"no error", backendtest.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			if r := next(ctx); r.Err == nil {
				return r
			}
			return backend.Result{Reply: backend.Reply{int64(0), int64(0)}}
		})},
		{"another text", backendtest.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			for i, e := range r.Reply {
				if s, ok := e.(string); ok {
					r.Reply[i] = strings.TrimRight(s, "\x00")
				}
			}
			return r
		})},
		{"another number", backendtest.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			for i, e := range r.Reply {
				if n, ok := e.(int64); ok && n > 10 {
					r.Reply[i] = n / 1000
				}
			}
			return r
		})},
		{"another flag", backendtest.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			if len(r.Reply) >= 2 {
				r.Reply[0] = int64(1)
			}
			return r
		})},
		{"no effect", backendtest.On(backendtest.Kind(backend.OpSetNX), func(_ context.Context, ops []backend.Op, _ backendtest.Send) []backend.Result {
			results := make([]backend.Result, len(ops))
			for i := range results {
				results[i].OK = true
			}
			return results
		})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := backendtest.NewFaultNode(memory.New())
			f.Set(tc.fault)
			err := backendtest.Compare(t.Context(), memory.New(), f, "compare:", 7, 1000)
			if err == nil || !strings.Contains(err.Error(), "seed 7") {
				t.Errorf("got %v, want an error that names the seed", err)
			}
		})
	}
}

// Each node whose queue is broken answers otherwise, or says something else.
func TestCompareTellsQueuesApart(t *testing.T) {
	// What these break, no operation of Compare meets: a list, hundreds of the dead, a
	// channel without a subscriber.
	unseen := []string{
		"acquire fails beside no queue", "release and rollback take a list for free",
		"release and rollback keep the lock beside no queue", "release looks at any number of the dead",
		"release does not say that there are more of the dead", "echo takes everybody for a subscriber",
		// It meets no list.
		"inspect of another type is an error", "inspect of no queue is an error",
	}
	tellsApart(t, brokenQueues, unseen)
}

// So does each whose votes are broken.
func TestCompareTellsFencesApart(t *testing.T) {
	tellsApart(t, brokenFences, []string{
		// Times that are near each other are the same to Compare, as the clocks of
		// two servers are not one.
		"vote ignores the hint", "vote is for the time", "vote tells when it was first asked",
		// It reads of an error no more than the first word.
		"vote does not name the key",
		// It meets no list, and no lock without an expiry.
		"vote takes a list for free", "vote fails on a list", "a list is overwritten by a marker", "prolong gives every lock an end",
		// It does not look at markers, which no two nodes have in common, nor does it
		// wait for the end of a quarantine.
		"a marker from the future will do", "a marker expires", "mark expires",
		"a quarantine is in seconds", "a quarantine does not say for how long",
	})
}

func tellsApart(t *testing.T, broken []brokenNode, unseen []string) {
	for _, tc := range broken {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lab{client: func(l *lab) backend.Node {
					c := &client{FaultNode: l.network, server: l.server, lab: l}
					tc.wreck(c)
					return c
				}}
				n, _, err := l.node(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				blind := slices.Contains(unseen, tc.name)
				seeds := uint64(24) // what one run does not meet another one does
				if blind {
					seeds = 1
				}
				for seed := uint64(0); seed < seeds && err == nil; seed++ {
					err = backendtest.Compare(t.Context(), memory.New(), n, "compare:", seed, 8000)
				}
				if seen := err != nil; seen == blind {
					t.Errorf("Compare returns %v", err)
				}
			})
		})
	}
}

func TestCompareEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backendtest.Compare(ctx, memory.New(), memory.New(), "", 1, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
