package redlock

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// A Check beside a Downgrade, while an extension is still on its way, does not cost the lock.
func TestCheckDuringDowngrade(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		r.setAll(faulty.On(faulty.Kind(backend.OpExtend), faulty.Delay(100*time.Millisecond)))
		var all sync.WaitGroup
		must := func(what string, err error) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		all.Go(func() { must("Extend", lock.Extend(t.Context(), 10*time.Second)) })
		time.Sleep(10 * time.Millisecond)
		all.Go(func() { must("Downgrade", lock.Downgrade(t.Context())) })
		time.Sleep(10 * time.Millisecond)
		all.Go(func() { _, err := lock.Check(t.Context()); must("Check", err) })
		all.Wait()
		must("Unlock", lock.Unlock(t.Context()))
		r.clean(l)
	})
}
