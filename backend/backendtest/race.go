package backendtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/check"
)

func raceChecks() []rule {
	return []rule{{
		name: "race/one winner",
		why:  "if many callers ask for a free lock at once, exactly one gets it",
		run: func(t *trial) {
			for range 20 {
				key, tokens := t.Name(), make([]string, crowd)
				for i := range tokens {
					tokens[i] = t.Name()
				}
				var mu sync.Mutex
				var winners []string
				t.Parallel(crowd, func(i int) {
					if t.TrySetNX(key, tokens[i], long) {
						mu.Lock()
						defer mu.Unlock()
						winners = append(winners, tokens[i])
					}
				})
				if len(winners) != 1 {
					t.Failf("%d of %d concurrent callers got a free key, want 1", len(winners), crowd)
				}
				t.EvalDelete(key, winners[0], true, "a key, by the winner")
			}
		},
	}, {
		name: "race/one release",
		why:  "comparing and deleting must be one step; otherwise the next holder's lock can be deleted",
		run:  oneRelease,
	}, {
		name: "race/own answers",
		why:  "each caller must get the reply to its own call, however many callers there are",
		run: func(t *trial) {
			_, inspects := optional[backend.Scripter](t, "Scripter")
			b, batches := optional[backend.Batcher](t, "Batcher")
			keys := make([]string, crowd)
			for i := range keys {
				keys[i] = t.Name()
			}
			t.Parallel(crowd, func(me int) {
				key := keys[me]
				for round := range 20 {
					token := fmt.Sprintf("%s by %d", key, round)
					t.SetNX(key, token, long, true, "a key of one's own")
					t.SetNX(key, token, long, false, "a key of one's own that is held")
					if inspects {
						if e := t.Inspect(key); e.Value != token {
							t.Failf("Inspect of a key that holds %q returns %q", token, e.Value)
						}
					}
					t.Extend(key, "no", long, false, "a key that another token holds")
					t.Extend(key, token, long, true, "a key by its holder")
					if batches {
						r := t.batch(b, []backend.Op{
							{Kind: backend.OpEvalDelete, Key: key, Token: "no"},
							{Kind: backend.OpExtend, Key: key, Token: token, TTL: long},
							{Kind: backend.OpSetNX, Key: key, Token: token, TTL: long},
						})
						if r[0].OK || !r[1].OK || r[2].OK || r[0].Err != nil || r[1].Err != nil || r[2].Err != nil {
							t.Failf("a batch on the caller's own key returned %+v, want false, true, false", r)
						}
					}
					t.EvalDelete(key, token, true, "a key by its holder")
				}
			})
		},
	}}
}

// oneRelease makes several callers take turns with a lock. Each of them releases it twice at
// once, during an extension. If the node compared and acted in two steps, this would affect the
// next holder.
func oneRelease(t *trial) {
	const workers, turns = 4, 40
	key, left := t.Name(), atomic.Int64{}
	left.Store(turns)
	ctx, cancel := context.WithTimeout(t.Ctx, call)
	defer cancel()
	fail := func(format string, args ...any) {
		left.Store(0) // the others need not go on
		t.Failf(format, args...)
	}
	do := func(op backend.Op) bool {
		op.Key = key
		r := op.Do(ctx, t.Node)
		if r.Err != nil {
			fail("%v failed: %w", op.Kind, r.Err)
		}
		return r.OK
	}
	t.Parallel(workers, func(me int) {
		for turn := 0; left.Load() > 0; turn++ {
			token := fmt.Sprintf("%s %d %d", key, me, turn)
			pause := 50 * time.Microsecond
			for !do(backend.Op{Kind: backend.OpSetNX, Token: token, TTL: long}) {
				if left.Load() <= 0 {
					return
				}
				pause = min(2*pause, time.Millisecond) // another caller must soon have what is deleted in between
				if err := check.Sleep(ctx, pause); err != nil {
					fail("the key stayed held, although each holder has released it")
				}
			}
			var deleted atomic.Int64
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					t.Protect(func() {
						if i == 2 {
							do(backend.Op{Kind: backend.OpExtend, Token: token, TTL: long})
						} else if do(backend.Op{Kind: backend.OpEvalDelete, Token: token}) {
							deleted.Add(1)
						}
					})
				})
			}
			wg.Wait()
			t.StopIfFailed()
			if n := deleted.Load(); n != 1 {
				fail("of two concurrent releases by the holder of a key, %d found it, want 1", n)
			}
			left.Add(-1)
		}
	})
	t.SetNX(key, t.Name(), long, true, "a key that each holder has released")
}
