package quorum

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/limit"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// Many waiters whose subscription breaks and comes back ask under the budget, and all of
// them get their locks.
func TestManyWaitersAreWokenAtOnce(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		const keys = 500
		for i := range keys {
			w.mem[0].Set(fmt.Sprint("k", i), "foreign", time.Hour)
		}
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				a, err := p.lock(t.Context(), fmt.Sprint("k", i))
				if err != nil {
					t.Error(err)
					return
				}
				release(a)
			})
		}
		time.Sleep(time.Second)
		var meter testnodes.BusyMeter
		p.set(meter.Fault, faulty.Delay(5*time.Millisecond))
		p.budget = limit.NewBudget() // the first attempts of all have made it grow
		p.locals.wakeAll(false)
		time.Sleep(500 * time.Millisecond)
		if ops := meter.Ops.Load(); ops < keys {
			t.Errorf("%d operations after all were woken, want one for each of %d", ops, keys)
		}
		if most := meter.MostOps.Load(); most > 4*64 {
			t.Errorf("%d operations in a call, of a budget that began with 64", most)
		}
		p.set()
		for i := range keys {
			w.mem[0].EvalDelete(t.Context(), fmt.Sprint("k", i), "foreign")
		}
		all.Wait()
	})
}
