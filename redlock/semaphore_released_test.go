package redlock

import (
	"errors"
	"testing"
	"time"
)

// A permit that was acquired after a wait and then released by another process, which resumed
// or broke it, wakes the next caller of this process at once.
func TestSemaphoreReleasedByAnother(t *testing.T) {
	for _, size := range []int{1, 3} {
		for _, how := range []string{"resume", "break"} {
			onRig(t, size, false, func(t *testing.T, r *rig) {
				l, other := r.locker(), r.locker()
				first, err := other.Semaphore("k", 1).Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s := l.Semaphore("k", 1)
				got := make(chan *Lock)
				acquire := func() {
					p, err := s.Acquire(t.Context())
					if err != nil {
						t.Error(err)
					}
					got <- p
				}
				go acquire()
				time.Sleep(100 * time.Millisecond)
				_ = first.Unlock(t.Context())
				a := <-got // it has waited
				resumed, err := other.Resume(t.Context(), a.Handover())
				if err != nil {
					t.Fatal(err)
				}
				go acquire()
				time.Sleep(100 * time.Millisecond)
				start := time.Now()
				if how == "break" {
					st, _ := other.Inspect(t.Context(), a.Key())
					_, err = other.Break(t.Context(), a.Key(), st.Fingerprint)
				} else {
					err = resumed.Unlock(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				b := <-got
				if took := time.Since(start); took > 200*time.Millisecond {
					t.Errorf("%d nodes, %s: the waiter has the permit after %v", size, how, took)
				}
				if err := b.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
				// A node that did not have the permit has notified l, which has added it to a.
				if err := a.Unlock(t.Context()); !errors.Is(err, ErrNotHeld) {
					t.Errorf("Unlock of what was released elsewhere: %v, want ErrNotHeld", err)
				}
				if err := other.Close(t.Context()); err != nil {
					t.Error(err)
				}
				r.clean(l)
			})
		}
	}
}
