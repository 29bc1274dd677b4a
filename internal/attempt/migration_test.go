package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// An extension that needs the counter waits for the keys to be together again, for as long
// as its caller does, and for no longer.
func TestExtensionInAMigratingSlot(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		var refused atomic.Int32
		p := w.process(full)
		a := p.mustFence("k")
		p.set(testnodes.MigratingSlot(&refused))
		time.AfterFunc(timeout/2, func() { p.set() })
		start := time.Now()
		if res := a.Extend(context.Background(), ttl, timeout); res.Verdict != round.Won || time.Since(start) > timeout/2+migrationPause {
			t.Errorf("extended while keys move: %v, after %v", res, time.Since(start))
		}
		p.set(testnodes.MigratingSlot(&refused))
		start = time.Now()
		res := a.Extend(context.Background(), ttl, timeout)
		if took := time.Since(start); res.Verdict != round.Unavailable || took > timeout || !errors.Is(res.Votes[0].Err, backend.ErrMigrating) {
			t.Errorf("extended in a migration that does not end: %v, after %v", res, took)
		}
		if res := a.release(); res.Verdict != round.Won {
			t.Errorf("the release: %v", res)
		}
		if left := w.value(0, "k"); left != "" {
			t.Errorf("the lock holds %q after its release", left)
		}
	})
}

func migrates(v round.Vote) bool { return errors.Is(v.Err, backend.ErrMigrating) }

// A vote waits for the keys to be together, for as long as its caller does, and is sent
// again a few times only.
func TestVoteInAMigratingSlot(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorldOf(t, n, full, func(t *testing.T, w *world) {
				var refused atomic.Int32
				p := w.process(full)
				f, err := p.Fencing("k")
				if err != nil {
					t.Fatal(err)
				}
				acquire := func() (*Attempt, round.Result) {
					return f.acquire(context.Background(), w.token(), ttl, timeout)
				}
				p.set(testnodes.MigratingSlot(&refused))
				start := time.Now()
				_, res := acquire()
				if took := time.Since(start); res.Verdict != round.Unavailable || took > timeout || !slices.ContainsFunc(res.Votes, migrates) {
					t.Errorf("in a migration that does not end: %v, after %v", res, took)
				}
				synctest.Wait()
				if n := int(refused.Load()) / n; n < 2 || n > 8 {
					t.Errorf("it was sent %d times, want a few", n)
				}
				w.empty()
				const ends = timeout / 5
				time.AfterFunc(ends, func() { p.set() })
				start = time.Now()
				a, res := acquire()
				if took := time.Since(start); res.Verdict != round.Won || took > 2*ends {
					t.Errorf("acquired while keys move: %v, after %v", res, took)
				}
				if a.Fence() == 0 {
					t.Error("no fencing token")
				}
				a.release()
			})
		})
	}
}
