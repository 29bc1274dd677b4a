package behaviour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A broken lock goes to the waiter on real servers. The old holder learns of it, and its
// fingerprint does not hit the next one.
func TestBreak(t *testing.T) {
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		all := addrs(servers.Start(t, kind, 3))
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				lost := make(chan redlock.Event, 1)
				holder := a.locker(t, all[:n], redlock.WithTTL(30*time.Second), redlock.WithOwner("gone"), redlock.WithFencing(), redlock.WithHooks(redlock.Hooks{
					Lost: func(_ context.Context, e redlock.Event) { lost <- e },
				}))
				key := fmt.Sprintf("broken %d %s", n, a.Name)
				lock, err := holder.TryLock(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				// A quorum decides before the last node has the lock. There the waiter could be first.
				operator := a.locker(t, all[:n], redlock.WithNodeTimeout(time.Second))
				status := await(t, operator, key, redlock.StateHeld)
				if status.Owner != "gone" {
					t.Fatal(status)
				}
				waits, got := make(chan struct{}), make(chan *redlock.Lock, 1)
				waiter := a.locker(t, all[:n], redlock.WithHooks(redlock.Hooks{
					Waiting: func(context.Context, redlock.Event) { close(waits) },
				}))
				go func() {
					lock, err := waiter.Lock(t.Context(), key, redlock.WithFencing(), redlock.WithWait(20*time.Second))
					if err != nil {
						t.Error(err)
					}
					got <- lock
				}()
				receive(t, "call of the hook Waiting", waits)

				report, err := operator.Break(t.Context(), key, status.Fingerprint)
				if err != nil || report.Count(redlock.Granted) != n {
					t.Fatal(report, err)
				}
				next := receive(t, "result of the waiter", got)
				if next == nil {
					return
				}
				if next.Fence() <= lock.Fence() {
					t.Errorf("unsafe: the next lock has the fencing token %d, after %d", next.Fence(), lock.Fence())
				}
				if report, err := operator.Break(t.Context(), key, status.Fingerprint); !errors.Is(err, redlock.ErrNotHeld) {
					t.Errorf("a second Break: %v, %v", report, err)
				}
				if err := lock.Extend(t.Context(), 30*time.Second); !errors.Is(err, redlock.ErrNotHeld) {
					t.Errorf("the old holder extends the lock: %v", err)
				}
				if e := receive(t, "call of the hook Lost", lost); !errors.Is(e.Err, redlock.ErrNotHeld) {
					t.Errorf("the old holder was told %v", e.Err)
				}
				if err := next.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
				await(t, operator, key, redlock.StateFree) // nothing is left, on any node
			})
		}
	})
}

// await waits until a lock is in that state on every node.
func await(t *testing.T, l *redlock.Locker, key string, state redlock.State) redlock.Status {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		status, err := l.Inspect(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(status.Nodes, func(n redlock.NodeStatus) bool { return n.State != state }) {
			return status
		}
		if time.Now().After(end) {
			t.Fatalf("want %v on every node: %v", state, status)
		}
	}
}
