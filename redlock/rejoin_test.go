package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// A lock that extends itself outlives restarts of all servers, one after another, if it is
// extended between two restarts. In the end all servers hold it again, and the hook and the log
// have reported each rejoin.
func TestAutoExtendOutlivesRestarts(t *testing.T) {
	for _, size := range []int{3, 5} {
		for _, bare := range []bool{false, true} {
			t.Run(fmt.Sprint(size, " bare ", bare), func(t *testing.T) {
				onRig(t, size, bare, func(t *testing.T, r *rig) {
					var log logText
					rejoined := make([]int, size)
					l := r.locker(WithTTL(1500*time.Millisecond), WithLogger(log.logger()), WithHooks(Hooks{Extended: func(_ context.Context, e Event) {
						for i, n := range e.Report {
							if n.Rejoined {
								rejoined[i]++
							}
						}
					}}))
					lock := r.lock(l, "k", WithAutoExtend())
					ctx := lock.Context(t.Context())
					synctest.Wait()
					for range 2 {
						for _, mem := range r.mem {
							mem.Flush()
							time.Sleep(1500 * time.Millisecond)
							if err := ctx.Err(); err != nil {
								t.Fatalf("the lock was lost: %v", context.Cause(ctx))
							}
						}
					}
					if n := r.holders("k", lock.Token()); n != size {
						t.Errorf("%d nodes hold the lock in the end, want %d", n, size)
					}
					for i, n := range rejoined {
						if n != 2 {
							t.Errorf("the hook reported %d times that node %d has the lock again, want twice", n, i)
						}
					}
					if got := strings.Count(log.String(), "has it again"); got != 2*size {
						t.Errorf("the log says %d times that a node has the lock again, want %d times", got, 2*size)
					}
					if err := lock.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					r.empty()
				})
			})
		}
	}
}

// The same holds for a lock that another process resumes and extends explicitly.
func TestExtendOfAResumedLockRejoins(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		first := r.lock(r.locker(), "k", WithFencing())
		synctest.Wait()
		lock, err := r.locker().Resume(t.Context(), first.Handover())
		if err != nil {
			t.Fatal(err)
		}
		for i, mem := range r.mem {
			mem.Flush()
			for _, want := range []bool{false, true} {
				if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := lock.Report()[i].Rejoined; got != want {
					t.Errorf("node %d: rejoined in the report: %v, want %v: %v", i, got, want, lock.Report())
				}
			}
		}
		if lock.Fence() != first.Fence() {
			t.Errorf("the fencing token is %d, want %d", lock.Fence(), first.Fence())
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An extension that is answered after the end of the validity came too late, because others may
// have had the lock in between.
func TestLateExtensionIsALoss(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		time.Sleep(time.Until(lock.Until()) - time.Millisecond)
		r.setAll(faulty.DelayReply(2 * time.Millisecond))
		if err := lock.Extend(t.Context(), 10*time.Second); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Extend: %v, want ErrNotHeld", err)
		}
		if err := lock.Err(); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Err: %v, want ErrNotHeld", err)
		}
		r.clear()
		if err := lock.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
	})
}
