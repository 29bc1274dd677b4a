package redlock

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// If a hook Node panics in a call that the caller makes itself, and the program goes on, no key and
// no cleanup is left.
func TestPanicOfHookNode(t *testing.T) {
	for _, op := range []string{"lock", "unlock"} {
		t.Run(op, func(t *testing.T) {
			onRig(t, 1, false, func(t *testing.T, r *rig) {
				armed := ""
				l := r.locker(WithHooks(Hooks{Node: func(e NodeEvent) {
					if e.Op == armed {
						armed = ""
						panic("a hook")
					}
				}}))
				r.lock(l, "warm").Unlock(t.Context())
				synctest.Wait()
				keys := []string{"a", "b", "c"}
				if op == "lock" {
					armed = op
				}
				var locks *Locks
				failed := panics(func() { locks, _ = l.LockAll(t.Context(), keys) })
				if op == "unlock" {
					armed = op
					failed = panics(func() { _ = locks.Unlock(t.Context()) })
				}
				if failed == nil {
					t.Fatal("no panic")
				}
				time.Sleep(time.Second)
				if left := r.mem[0].Keys(); len(left) > 0 || l.Cleanups() > 0 {
					t.Errorf("left: %q, and %d cleanups", left, l.Cleanups())
				}
			})
		})
	}
}

// If an adapter panics in a call that the caller makes itself, and the program goes on, the node
// works on, also after an outage.
func TestPanicOfAdapter(t *testing.T) {
	for name, lock := range map[string]func(context.Context, *Locker) error{
		"one key": func(ctx context.Context, l *Locker) error { _, err := l.TryLock(ctx, "a"); return err },
		"several": func(ctx context.Context, l *Locker) error {
			_, err := l.TryLockAll(ctx, []string{"a", "b"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			onRig(t, 1, false, func(t *testing.T, r *rig) {
				l := r.locker()
				r.lock(l, "warm").Unlock(t.Context())
				synctest.Wait()
				var panicked atomic.Bool // once, because the deletions that follow are calls of the sender
				r.setAll(func(ctx context.Context, ops []backend.Op, send faulty.Send) []backend.Result {
					if panicked.CompareAndSwap(false, true) {
						panic("an adapter")
					}
					return send(ctx, ops)
				})
				if panics(func() { _ = lock(t.Context(), l) }) == nil {
					t.Fatal("no panic")
				}
				r.setAll(faulty.LoseRequest(context.DeadlineExceeded))
				if err := lock(t.Context(), l); err == nil {
					t.Error("a lock during an outage")
				}
				r.clear()
				time.Sleep(time.Minute)
				if err := lock(t.Context(), l); err != nil {
					t.Error("after the outage: ", err)
				}
			})
		})
	}
}
