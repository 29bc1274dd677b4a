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
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/scripttest"
)

func TestCompare(t *testing.T) {
	for seed := range uint64(20) {
		if err := scripttest.Compare(t.Context(), memory.New(), memory.New(), "compare:", seed, 300); err != nil {
			t.Fatal(err)
		}
	}
	// A slow node is not a different node.
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

func TestCompareDetectsBrokenNodes(t *testing.T) {
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

// Compare detects each node with a broken queue.
func TestCompareDetectsBrokenQueues(t *testing.T) {
	long.Test(t)
	// No operation of Compare detects these, because it uses no list in place of a key, no
	// hundreds of dead waiters, and no channel without a subscriber.
	unseen := []string{
		"acquire fails with a damaged queue", "release and rollback treat a list as free",
		"release and rollback keep the lock if the queue is damaged", "release removes any number of dead waiters",
		"release does not report further dead waiters", "echo counts a subscriber that does not exist",
		// It uses no list in place of these keys.
		"inspect of another type is an error", "inspect of a damaged queue is an error",
	}
	tellsApart(t, brokenQueues, unseen)
}

// Compare detects each node with broken votes.
func TestCompareDetectsBrokenFences(t *testing.T) {
	long.Test(t)
	tellsApart(t, brokenFences, []string{
		// Compare treats times that are close to each other as equal, because two servers have
		// two clocks.
		"vote ignores the hint", "vote is for the time", "vote always returns the first time",
		// It compares only the first word of an error.
		"vote does not name the key",
		// It uses no list and no lock without an expiry.
		"vote treats a list as free", "vote fails on a list", "a list is overwritten by a marker", "prolong gives every lock an expiry",
		// It does not compare markers, because two nodes never have equal ones. It does not wait
		// for the end of a quarantine.
		"a marker from the future is accepted", "a marker expires", "mark expires",
		"a quarantine is in seconds", "a quarantine does not report its end",
	})
}

func tellsApart(t *testing.T, broken []brokenNode, unseen []string) {
	for _, tc := range broken {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newClient(tc.wreck)
				var err error
				blind := slices.Contains(unseen, tc.name)
				seeds := uint64(24) // what one run misses, another one finds
				if blind {
					seeds = 1
				}
				for seed := uint64(0); seed < seeds && err == nil; seed++ {
					err = scripttest.Compare(t.Context(), memory.New(), n, "compare:", seed, 8000)
				}
				if seen := err != nil; seen == blind {
					t.Errorf("Compare returned %v", err)
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

// Two nodes with equal replies.
func ExampleCompare() {
	err := scripttest.Compare(context.Background(), memory.New(), memory.New(), "compare:", 1, 1000)
	fmt.Println(err)
	// Output: <nil>
}
