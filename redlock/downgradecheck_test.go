package redlock

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
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

// A Check whose question arrives after a Downgrade that began later does not cost the lock.
func TestCheckBeforeDowngrade(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		r.setAll(faulty.On(func(op backend.Op) bool { return op.Script == lua.Inspect }, faulty.Delay(20*time.Millisecond)))
		var check error
		var all sync.WaitGroup
		all.Go(func() { _, check = lock.Check(t.Context()) })
		time.Sleep(10 * time.Millisecond)
		if err := lock.Downgrade(t.Context()); err != nil {
			t.Errorf("Downgrade: %v", err)
		}
		all.Wait()
		if check != nil {
			t.Errorf("Check: %v", check)
		}
		if err := lock.Err(); err != nil {
			t.Errorf("the lock: %v", err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		r.clean(l)
	})
}
