package redlock

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// InUse finds the permits that are held, whatever number their holders agreed on, and who
// waits for one.
func TestSemaphoreInUse(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithKeyPrefix("app:"), WithOwner("me"))
		all := l.Semaphore("k", MaxPermits)
		if slots, err := all.InUse(t.Context()); err != nil || len(slots) != 0 {
			t.Errorf("%v, %v; want none", slots, err)
		}
		s := l.Semaphore("k", 3)
		var keys []string
		for range 3 {
			permit, err := s.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = permit.Unlock(context.Background()) }()
			keys = append(keys, "app:"+permit.Key())
		}
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan error)
		go func() {
			_, err := s.Acquire(ctx)
			waited <- err
		}()
		time.Sleep(time.Second)
		calls := r.calls()
		slots, err := all.InUse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := r.calls() - calls; n != 3+3*3 {
			t.Errorf("%d calls, want one to each node for all slots, and one for each slot in use", n)
		}
		var found []string
		for _, slot := range slots {
			found = append(found, slot.Key)
			if slot.State != StateHeld || slot.Owner != "me" || slot.Waiting != 1 || len(slot.Nodes) != 3 {
				t.Errorf("a slot is %v; want it held, and one waiting", slot)
			}
		}
		slices.Sort(keys)
		if !slices.Equal(found, keys) {
			t.Errorf("found %q, want %q", found, keys)
		}
		if slots, err := l.Semaphore("k", 1).InUse(t.Context()); err != nil || len(slots) != 1 {
			t.Errorf("of one permit, %v, %v", slots, err)
		}

		// A node that does not answer changes nothing. Two are too many.
		r.fault[0].Set(faulty.Refuse(nil))
		if slots, err := all.InUse(t.Context()); err != nil || len(slots) != 3 || slots[0].State != StateHeld || slots[0].Nodes[0].Err == nil {
			t.Errorf("without one node, %v, %v", slots, err)
		}
		r.fault[1].Set(faulty.Refuse(nil))
		_, err = all.InUse(t.Context())
		matches(t, err, ErrUnavailable)
		var failed *QuorumError
		if !errors.As(err, &failed) || failed.Op != "inspect" || failed.Key != "app:k" || failed.Need != 2 || len(failed.Last()) != 3 {
			t.Fatalf("%v, want an error of all nodes", err)
		}
		for i, want := range []Outcome{Failed, Failed, Granted} {
			if n := failed.Last()[i]; n.Node != r.mem[i].Name() || n.Outcome != want || (n.Err != nil) != (want == Failed) {
				t.Errorf("%s: %v, %v; want %s: %v", n.Node, n.Outcome, n.Err, r.mem[i].Name(), want)
			}
		}
		r.setAll()
		cancel()
		<-waited
		if _, err := all.InUse(ctx); err == nil {
			t.Error("no error although ctx has ended")
		}
		if _, err := l.Semaphore("", 1).InUse(t.Context()); err == nil {
			t.Error("no error of an empty key")
		}
	})
}
