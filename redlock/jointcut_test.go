package redlock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// LockAll has waited for one key, and cannot extend the other one because nodes are down. The error
// says so, and not that a key is taken.
func TestLockAllNodesDownAfterWait(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		b := r.lock(r.locker(), "b", WithAutoExtend())
		var once sync.Once
		l := r.locker(WithHooks(Hooks{Locked: func(_ context.Context, e Event) {
			if e.Key == "b" && e.Err == nil {
				once.Do(func() { r.set(0, 2, faulty.Refuse(nil)) })
			}
		}}))
		time.AfterFunc(5*time.Second, func() { r.unlocks(b) })
		_, err := l.LockAll(t.Context(), []string{"a", "b"}, WithWait(8*time.Second))
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTaken) {
			t.Errorf("LockAll: %v, want ErrUnavailable and not ErrTaken", err)
		}
		r.clear()
		time.Sleep(time.Minute) // until what was left has expired
	})
}
