package redlock

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// eachSharingRig is eachRig for nodes that can share locks.
func eachSharingRig(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	for _, size := range []int{1, 3, 5} {
		onRig(t, size, false, f)
	}
}

func (r *rig) rlock(l *Locker, key string, opts ...LockOption) *Lock {
	r.t.Helper()
	lock, err := l.RLock(r.t.Context(), key, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait() // nodes beyond the quorum
	return lock
}

// Readers hold a lock together. A writer waits for all of them, and they wait for it.
func TestRLock(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(), r.locker()
		a, b := r.rlock(l, "k"), r.rlock(other, "k")
		if !a.Shared() || a.Fence() != 0 || a.Err() != nil {
			t.Errorf("a shared lock: shared %v, fence %d, %v", a.Shared(), a.Fence(), a.Err())
		}
		if _, err := l.TryLock(t.Context(), "k"); !errors.Is(err, ErrTaken) {
			t.Errorf("TryLock beside readers: %v, want ErrTaken", err)
		}
		var wg sync.WaitGroup
		var wrote time.Time
		wg.Go(func() {
			w, err := other.Lock(t.Context(), "k")
			if err != nil {
				t.Error(err)
				return
			}
			wrote = time.Now()
			if _, err := l.TryRLock(t.Context(), "k"); !errors.Is(err, ErrTaken) || w.Shared() {
				t.Errorf("TryRLock beside a writer: %v, want ErrTaken", err)
			}
			_ = w.Unlock(t.Context())
		})
		time.Sleep(100 * time.Millisecond)
		if _, err := l.TryRLock(t.Context(), "k"); !errors.Is(err, ErrTaken) {
			t.Errorf("TryRLock behind a writer that waits: %v, want ErrTaken", err)
		}
		if err := a.Extend(t.Context(), time.Minute); err != nil || time.Until(a.Until()) < 50*time.Second {
			t.Errorf("Extend: %v, until in %v", err, time.Until(a.Until()))
		}
		if err := a.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(100 * time.Millisecond)
		if !wrote.IsZero() {
			t.Error("a writer has the lock beside a reader")
		}
		released := time.Now()
		if err := b.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if took := wrote.Sub(released); took > 50*time.Millisecond {
			t.Errorf("the writer has the lock %v after the last reader", took)
		}
		if err := a.Unlock(t.Context()); err != nil {
			t.Errorf("a second Unlock: %v, want the result of the first", err)
		}
		if err := a.Err(); err != ErrReleased {
			t.Error(err)
		}
	})
}

// DoShared runs functions side by side, extends the lock, and ends its context with a loss.
func TestDoShared(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Second))
		inside, most := 0, 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				err := l.DoShared(t.Context(), "k", func(ctx context.Context) error {
					mu.Lock()
					inside++
					most = max(most, inside)
					mu.Unlock()
					time.Sleep(5 * time.Second)
					mu.Lock()
					inside--
					mu.Unlock()
					return ctx.Err()
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most != 5 {
			t.Errorf("%d functions ran side by side, want 5", most)
		}
		err := l.DoShared(t.Context(), "k", func(ctx context.Context) error {
			synctest.Wait()
			for _, m := range r.mem {
				m.Flush()
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		if !errors.Is(err, ErrNotHeld) {
			t.Errorf("after a loss: %v, want ErrNotHeld", err)
		}
	})
}

// Calls that a shared lock cannot serve are rejected before any I/O.
func TestRLockRejects(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithFencing())
		reads := r.rlock(l, "k") // a default has no effect
		nested := reads.Context(t.Context())
		ops := r.allArrived()
		for name, call := range map[string]func() error{
			"fencing":             func() error { _, err := l.RLock(t.Context(), "k", WithFencing()); return err },
			"a key without a set": func() error { _, err := l.RLock(t.Context(), "a}b"); return err },
			"an upgrade":          func() error { _, err := l.Lock(nested, "k", WithReentrancy()); return err },
			"an upgrade at once":  func() error { _, err := l.TryLock(nested, "k", WithReentrancy()); return err },
			"an upgrade of several keys": func() error {
				_, err := l.LockAll(nested, []string{"j", "k"}, WithReentrancy())
				return err
			},
			"a wait for itself": func() error { _, err := l.Lock(nested, "k"); return err },
			"a read for itself": func() error { _, err := l.RLock(nested, "k"); return err },
			"an empty key":      func() error { return l.DoShared(t.Context(), "", func(context.Context) error { return nil }) },
			"no function":       func() error { return l.DoShared(t.Context(), "k", nil) },
			"a wait":            func() error { _, err := l.TryRLock(t.Context(), "k", WithWait(time.Second)); return err },
		} {
			if err := call(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if got := r.allArrived(); got != ops {
			t.Errorf("%d operations arrived", got-ops)
		}
		_ = reads.Unlock(t.Context())
		exclusive := r.lock(l, "j")
		permit, err := l.Semaphore("s", 2).Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := permit.Downgrade(t.Context()); err == nil || permit.Shared() {
			t.Errorf("the downgrade of a permit: %v", err)
		}
		_ = permit.Unlock(t.Context())
		again, err := l.Lock(exclusive.Context(t.Context()), "j", WithReentrancy())
		if err != nil {
			t.Fatal(err)
		}
		if err := exclusive.Downgrade(t.Context()); err == nil || exclusive.Shared() {
			t.Errorf("the downgrade of a lock with two handles: %v", err)
		}
		_ = again.Unlock(t.Context())
		if err := exclusive.Downgrade(t.Context()); err != nil || !exclusive.Shared() {
			t.Errorf("the downgrade of a lock with one handle: %v", err)
		}
		_ = exclusive.Unlock(t.Context())
	})
	onRig(t, 1, true, func(t *testing.T, r *rig) {
		l := r.locker()
		if _, err := l.RLock(t.Context(), "k"); !errors.Is(err, errors.ErrUnsupported) || r.allArrived() != 0 {
			t.Errorf("RLock on nodes without scripts: %v", err)
		}
		lock := r.lock(l, "k")
		if err := lock.Downgrade(t.Context()); !errors.Is(err, errors.ErrUnsupported) || lock.Shared() {
			t.Errorf("Downgrade on nodes without scripts: %v", err)
		}
		_ = lock.Unlock(t.Context())
	})
}

// allArrived returns how many operations have arrived at the nodes.
func (r *rig) allArrived() int {
	n := 0
	for _, f := range r.fault {
		n += len(f.Arrived())
	}
	return n
}

// A ctx that holds a lock, shared or not, can read under it again.
func TestRLockNests(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithReentrancy())
		for _, outer := range []*Lock{r.rlock(l, "k"), r.lock(l, "j")} {
			inner, err := l.RLock(outer.Context(t.Context()), outer.Key())
			if err != nil {
				t.Fatal(err)
			}
			_ = outer.Unlock(t.Context())
			if r.holders(outer.Key(), "") != len(r.mem) || inner.Err() != nil {
				t.Errorf("after the outer Unlock %d nodes have the lock, %v", r.holders(outer.Key(), ""), inner.Err())
			}
			_ = inner.Unlock(t.Context())
			synctest.Wait()
			if n := r.holders(outer.Key(), ""); n != 0 {
				t.Errorf("after the last Unlock %d nodes have the lock", n)
			}
		}
	})
}

// A downgrade lets readers in that wait, and keeps writers out. It is never undone.
func TestLockDowngrade(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithFencing()), r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		var wg sync.WaitGroup
		var reader *Lock
		before := lock.Context(t.Context())
		wg.Go(func() { reader, _ = other.RLock(t.Context(), "k") })
		time.Sleep(100 * time.Millisecond)
		if err := lock.Downgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if reader == nil || !lock.Shared() || lock.Fence() != 0 || FenceFromContext(before) != 0 {
			t.Fatalf("reader: %v, shared: %v, fence: %d, of a context: %d", reader, lock.Shared(), lock.Fence(), FenceFromContext(before))
		}
		if err := before.Err(); err != nil {
			t.Errorf("a context from before: %v", err)
		}
		if _, err := other.TryLock(t.Context(), "k"); !errors.Is(err, ErrTaken) {
			t.Errorf("TryLock beside readers: %v", err)
		}
		if err := lock.Downgrade(t.Context()); err != nil {
			t.Errorf("a second Downgrade: %v", err)
		}
		_ = reader.Unlock(t.Context())
		if _, err := other.TryLock(t.Context(), "k"); !errors.Is(err, ErrTaken) {
			t.Errorf("TryLock beside the downgraded lock: %v", err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := lock.Downgrade(t.Context()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Downgrade after Unlock: %v, want ErrNotHeld", err)
		}
		synctest.Wait()
		if n := r.holders("k", ""); n != 0 {
			t.Errorf("%d nodes have the lock", n)
		}

		lock = r.lock(l, "k")
		synctest.Wait()
		r.setAll(faulty.LoseReply(nil))
		if err := lock.Downgrade(t.Context()); !errors.Is(err, ErrUnavailable) || !lock.Shared() || lock.Err() != nil {
			t.Errorf("a downgrade without answers: %v, shared: %v, %v", err, lock.Shared(), lock.Err())
		}
		r.clear()
		time.Sleep(time.Second)
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		_ = lock.Unlock(t.Context())
	})
}

// The mode survives a handover, also as a text. Earlier releases cannot read that text.
func TestSharedHandover(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithFencing())
		text, err := r.rlock(l, "k").Handover().MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var h Handover
		if err := h.UnmarshalText(text); err != nil || !h.Shared() || h.Fence() != 0 || !strings.Contains(h.String(), "shared lock") {
			t.Fatalf("the handover %v, shared %v: %v", h, h.Shared(), err)
		}
		lock, err := l.Resume(t.Context(), h)
		if err != nil || !lock.Shared() {
			t.Fatalf("Resume: %v", err)
		}
		beside := r.rlock(r.locker(), "k")
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := l.Release(t.Context(), lock.Handover()); err != nil {
			t.Errorf("Release: %v", err)
		}
		if err := lock.Extend(t.Context(), time.Minute); !errors.Is(err, ErrNotHeld) {
			t.Errorf("an extension after the Release: %v, want ErrNotHeld", err)
		}
		if err := beside.Extend(t.Context(), time.Minute); err != nil {
			t.Errorf("the other reader: %v", err)
		}
		_ = beside.Unlock(t.Context())
		exclusive := NewHandover("k", "token", 0)
		if _, err := l.With(); err != nil || exclusive.Shared() {
			t.Error("a handover from parts is shared")
		}
	})
}

// Inspect shows the readers, Check asks for the share, and Break ends one reader's share.
func TestInspectShared(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithOwner("one"))
		other := r.locker(WithOwner("two"))
		a := r.rlock(l, "k")
		time.Sleep(10 * time.Millisecond)
		b := r.rlock(other, "k")
		s, err := l.Inspect(t.Context(), "k")
		if err != nil || s.State != StateShared || s.Reading != 2 || len(s.Readers) != 2 || s.Readers[0].Owner != "one" || s.Readers[1].Owner != "two" || s.TTL <= 0 {
			t.Fatalf("Inspect: %+v, %v", s, err)
		}
		if text := s.String(); !strings.Contains(text, `shared for`) || !strings.Contains(text, "2 reading") || strings.Contains(text, a.Token()) {
			t.Errorf("the status is %s", text)
		}
		for _, lock := range []*Lock{a, b} {
			if report, err := lock.Check(t.Context()); err != nil || report.Count(Granted) < r.need() {
				t.Errorf("Check: %v, %v", report, err)
			}
		}
		if until := time.Until(a.Until()); until < 9*time.Second {
			t.Errorf("after Check, the lock is valid for %v", until)
		}
		if _, err := l.Break(t.Context(), "k", proto.Fingerprint("~shared")); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Break of all readers: %v, want ErrNotHeld", err)
		}
		if _, err := l.Break(t.Context(), "k", s.Readers[0].Fingerprint); err != nil {
			t.Errorf("Break: %v", err)
		}
		if _, err := a.Check(t.Context()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Check after Break: %v, want ErrNotHeld", err)
		}
		if _, err := b.Check(t.Context()); err != nil {
			t.Errorf("Check of the other reader: %v", err)
		}
		_ = b.Unlock(t.Context())
		synctest.Wait()
		if s, err := l.Inspect(t.Context(), "k"); err != nil || s.State != StateFree || s.Reading != 0 {
			t.Errorf("Inspect: %v, %v", s, err)
		}
	})
}

// Hooks are told that a lock is shared.
func TestSharedHooks(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var events []string
		note := func(name string) func(context.Context, Event) {
			return func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				if !e.Shared {
					t.Errorf("%s: not shared", name)
				}
				events = append(events, name+" "+e.Op)
			}
		}
		l := r.locker(WithHooks(Hooks{
			Begin: func(ctx context.Context, e Event) context.Context {
				note("begin")(ctx, e)
				return ctx
			},
			Locked: note("locked"), Extended: note("extended"), Unlocked: note("unlocked"), Lost: note("lost"),
		}))
		lock := r.rlock(l, "k")
		_ = lock.Extend(t.Context(), time.Minute)
		_ = lock.Unlock(t.Context())
		lock = r.rlock(l, "k")
		for _, m := range r.mem {
			m.Flush()
		}
		_ = lock.Extend(t.Context(), time.Minute)
		want := "begin lock,locked lock,begin extend,extended extend,begin unlock,unlocked unlock,begin lock,locked lock,begin extend,lost ,extended extend"
		if got := strings.Join(events, ","); got != want {
			t.Errorf("the events are %q, want %q", got, want)
		}
	})
}

// A Mutex can be read by several callers.
func TestMutexRLock(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		m, other := r.locker().Mutex("k"), r.locker().Mutex("k")
		if err := m.RUnlock(t.Context()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("RUnlock of an unlocked Mutex: %v", err)
		}
		for _, lock := range []func(context.Context) error{m.RLock, m.TryRLock, other.RLock} {
			if err := lock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.TryLock(t.Context()); !errors.Is(err, ErrTaken) {
			t.Errorf("TryLock beside readers: %v", err)
		}
		for _, unlock := range []func(context.Context) error{m.RUnlock, m.RUnlock, other.RUnlock} {
			if err := unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if err := m.Lock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.TryRLock(t.Context()); !errors.Is(err, ErrTaken) {
			t.Errorf("TryRLock beside a writer: %v", err)
		}
		_ = m.Unlock(t.Context())
	})
}

// Shutdown releases shared locks. A minimum hold keeps them.
func TestSharedLockEnds(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		held := r.rlock(l, "k")
		if err := l.Shutdown(t.Context()); err != nil || held.Err() != ErrClosed || r.holders("k", "") != 0 {
			t.Errorf("Shutdown: %v, %v, %d nodes have the lock", err, held.Err(), r.holders("k", ""))
		}
		l = r.locker()
		least := r.rlock(l, "k", WithMinHold(3*time.Second))
		if err := least.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		beside := r.rlock(l, "k")
		_ = beside.Unlock(t.Context())
		if _, err := l.TryLock(t.Context(), "k"); !errors.Is(err, ErrTaken) {
			t.Errorf("TryLock during the minimum hold: %v", err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := r.holders("k", ""); n != 0 {
			t.Errorf("%d nodes have the lock after the minimum hold", n)
		}
	})
}
