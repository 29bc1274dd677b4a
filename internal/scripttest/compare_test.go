package scripttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/scripttest"
)

func TestCompare(t *testing.T) {
	for seed := range uint64(20) {
		if err := scripttest.Compare(t.Context(), memory.New(), memory.New(), "compare:", seed, 300); err != nil {
			t.Fatal(err)
		}
	}
	// Slow nodes are no different ones.
	synctest.Test(t, func(t *testing.T) {
		slow := faulty.NewFaultNode(memory.New())
		slow.Set(faulty.Delay(20 * time.Millisecond))
		if err := scripttest.Compare(t.Context(), memory.New(), slow, "compare:", 1, 300); err != nil {
			t.Error(err)
		}
	})
	if err := scripttest.Compare(t.Context(), faulty.Bare(memory.New()), memory.New(), "compare:", 1, 300); err != nil {
		t.Error(err)
	}
}

func TestCompareTellsNodesApart(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault faulty.Fault
	}{
		{"another answer", faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			r.OK = r.OK || op.Kind == backend.OpExtend
			return r
		})},
		{"an error", faulty.On(faulty.Kind(backend.OpEvalDelete), faulty.LoseReply(nil))},
		{"no error", faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			if r := next(ctx); r.Err == nil {
				return r
			}
			return backend.Result{Reply: backend.Reply{int64(0), int64(0)}}
		})},
		{"another text", faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			for i, e := range r.Reply {
				if s, ok := e.(string); ok {
					r.Reply[i] = strings.TrimRight(s, "\x00")
				}
			}
			return r
		})},
		{"another number", faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			for i, e := range r.Reply {
				if n, ok := e.(int64); ok && n > 10 {
					r.Reply[i] = n / 1000
				}
			}
			return r
		})},
		{"another flag", faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			if len(r.Reply) >= 2 {
				r.Reply[0] = int64(1)
			}
			return r
		})},
		{"no effect", faulty.On(faulty.Kind(backend.OpSetNX), func(_ context.Context, ops []backend.Op, _ faulty.Send) []backend.Result {
			results := make([]backend.Result, len(ops))
			for i := range results {
				results[i].OK = true
			}
			return results
		})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := faulty.NewFaultNode(memory.New())
			f.Set(tc.fault)
			err := scripttest.Compare(t.Context(), memory.New(), f, "compare:", 7, 1000)
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
				n := newClient(tc.wreck)
				var err error
				blind := slices.Contains(unseen, tc.name)
				seeds := uint64(24) // what one run does not meet another one does
				if blind {
					seeds = 1
				}
				for seed := uint64(0); seed < seeds && err == nil; seed++ {
					err = scripttest.Compare(t.Context(), memory.New(), n, "compare:", seed, 8000)
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
	if err := scripttest.Compare(ctx, memory.New(), memory.New(), "", 1, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// Two nodes that answer alike.
func ExampleCompare() {
	err := scripttest.Compare(context.Background(), memory.New(), memory.New(), "compare:", 1, 1000)
	fmt.Println(err)
	// Output: <nil>
}
