package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/internal/lease"
)

// bomb makes hooks that panic once it is armed with the name of one of them.
type bomb struct {
	mu    sync.Mutex
	armed string
	times int // how often it still goes off
}

func (b *bomb) arm(hook string, times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.times = hook, times
}

func (b *bomb) visit(hook string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if hook == b.armed && b.times > 0 {
		b.times--
		panic("boom")
	}
}

func (b *bomb) hooks() Hooks {
	hook := func(name string) func(context.Context, Event) {
		return func(context.Context, Event) { b.visit(name) }
	}
	return Hooks{
		Begin:   func(ctx context.Context, _ Event) context.Context { b.visit("Begin"); return ctx },
		Waiting: hook("Waiting"), Round: hook("Round"), Locked: hook("Locked"),
		Extended: hook("Extended"), Unlocked: hook("Unlocked"), Lost: hook("Lost"),
		Node: func(NodeEvent) { b.visit("Node") },
	}
}

// A hookPanic is a call in which hooks panic.
type hookPanic struct {
	call  string
	hooks string // that it invokes on the caller's goroutine

	// prepare returns the call. advance ends locks before their keys expire on the nodes.
	prepare func(r *rig, l *Locker, advance func(time.Duration)) (call func(ctx context.Context))
}

var threeKeys = []string{"a", "b", "c"}

var hookPanics = append([]hookPanic{
	{"Lock", "Begin Node Round Locked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) { _, _ = l.Lock(ctx, "a", WithAutoExtend()) }
	}},
	{"Lock that waits", "Begin Waiting Round Locked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		holdFor(r, "a", 3*time.Second)
		return func(ctx context.Context) { _, _ = l.Lock(ctx, "a") }
	}},
	{"RLock", "Begin Node Round Locked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) { _, _ = l.RLock(ctx, "a", WithAutoExtend()) }
	}},
	{"Acquire", "Begin Node Round Locked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) { _, _ = l.Semaphore("a", 2).Acquire(ctx) }
	}},
	{"LockAll", "Begin Node Round Locked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) { _, _ = l.LockAll(ctx, threeKeys, WithAutoExtend()) }
	}},
	{"LockAll that waits", "Begin Waiting Round Locked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		holdFor(r, "b", 3*time.Second)
		return func(ctx context.Context) { _, _ = l.LockAll(ctx, threeKeys) }
	}},
	{"LockAll that extends what it has", "Extended", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		holdFor(r, "b", 3*time.Second)
		return func(ctx context.Context) { _, _ = l.LockAll(ctx, threeKeys, WithMinHold(time.Second)) }
	}},
	{"LockAll that loses what it has", "Lost", func(r *rig, l *Locker, advance func(time.Duration)) func(context.Context) {
		holdFor(r, "c", 3*time.Second)
		return func(ctx context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			time.AfterFunc(1500*time.Millisecond, func() { advance(2 * time.Hour); cancel() })
			_, _ = l.LockAll(ctx, threeKeys)
		}
	}},
	{"LockAll that fails beside a lock of its ctx", "Unlocked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		outer := r.lock(l, "a")
		holdFor(r, "c", 3*time.Second)
		return func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(outer.Context(ctx), time.Second)
			defer cancel()
			defer func() { _ = outer.Unlock(ctx) }()
			_, _ = l.LockAll(ctx, threeKeys, WithReentrancy())
		}
	}},
	{"Mutex.Lock", "Begin Round Locked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		m := l.Mutex("a")
		return func(ctx context.Context) {
			defer mutexIsFree(m)
			_ = m.Lock(ctx)
		}
	}},
	{"Mutex.TryLock", "Begin Round Locked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		m := l.Mutex("a")
		return func(ctx context.Context) {
			defer mutexIsFree(m)
			_ = m.TryLock(ctx)
		}
	}},
	{"Mutex.Unlock", "Begin Round Unlocked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		m := l.Mutex("a")
		_ = m.Lock(r.t.Context())
		return func(ctx context.Context) {
			defer mutexIsFree(m)
			_ = m.Unlock(ctx)
		}
	}},
	{"nested Lock that extends", "Begin Round Extended", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		outer := r.lock(l, "a")
		return func(ctx context.Context) {
			defer func() { _ = outer.Unlock(ctx) }()
			_, _ = l.Lock(outer.Context(ctx), "a", WithReentrancy(), WithTTL(2*time.Hour))
		}
	}},
	{"Downgrade", "Begin Round Extended", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		lock := r.lock(l, "a", WithAutoExtend())
		return func(ctx context.Context) {
			defer func() { _ = lock.Unlock(ctx) }()
			_ = lock.Downgrade(ctx)
		}
	}},
	{"Locks.Extend", "Begin Round Extended", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		locks, err := l.LockAll(r.t.Context(), threeKeys)
		if err != nil {
			r.t.Fatal(err)
		}
		return func(ctx context.Context) {
			defer func() { _ = locks.Unlock(ctx) }()
			_ = locks.Extend(ctx, time.Hour)
		}
	}},
	{"Do", "Unlocked", func(_ *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) { _ = l.Do(ctx, "a", func(context.Context) error { return nil }) }
	}},
	{"Do, lost", "Lost Unlocked", func(_ *rig, l *Locker, advance func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) {
			_ = l.Do(ctx, "a", func(context.Context) error { advance(2 * time.Hour); return nil })
		}
	}},
	{"DoAll, lost", "Lost Unlocked", func(_ *rig, l *Locker, advance func(time.Duration)) func(context.Context) {
		return func(ctx context.Context) {
			_ = l.DoAll(ctx, threeKeys, func(context.Context) error { advance(2 * time.Hour); return nil })
		}
	}},
	{"Resume", "Node Round Locked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		h := r.lock(r.locker(), "a", WithTTL(time.Hour)).Handover() // it must not expire during the test
		return func(ctx context.Context) { _, _ = l.Resume(ctx, h, WithAutoExtend()) }
	}},
	{"Release", "Begin Node Round Unlocked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		h := r.lock(r.locker(), "a", WithTTL(time.Hour)).Handover() // it must not expire during the test
		return func(ctx context.Context) { _ = l.Release(ctx, h) }
	}},
	{"Shutdown", "Begin Unlocked", func(r *rig, l *Locker, _ func(time.Duration)) func(context.Context) {
		for _, key := range threeKeys {
			r.lock(l, key, WithAutoExtend())
		}
		return func(ctx context.Context) { _ = l.Shutdown(ctx) }
	}},
	{"Shutdown, one lost", "Lost Begin Unlocked", func(r *rig, l *Locker, advance func(time.Duration)) func(context.Context) {
		for _, key := range threeKeys {
			r.lock(l, key)
		}
		r.lock(l, "d", WithTTL(8*time.Second))
		for _, key := range []string{"e", "f"} {
			r.lock(l, key)
		}
		return func(ctx context.Context) {
			advance(9 * time.Second)
			_ = l.Shutdown(ctx)
		}
	}},
}, hookPanicsOfUnlock()...)

// hookPanicsOfUnlock returns the calls that unlock all kinds of locks.
func hookPanicsOfUnlock() (tests []hookPanic) {
	type lockFunc func(ctx context.Context, l *Locker, opts ...LockOption) (unlock func(context.Context))
	unlocking := func(lock interface{ Unlock(context.Context) error }, err error) func(context.Context) {
		if err != nil {
			panic(err)
		}
		return func(ctx context.Context) { _ = lock.Unlock(ctx) }
	}
	for kind, lock := range map[string]lockFunc{
		"Unlock": func(ctx context.Context, l *Locker, opts ...LockOption) func(context.Context) {
			return unlocking(l.Lock(ctx, "a", opts...))
		},
		"Unlock of a shared lock": func(ctx context.Context, l *Locker, opts ...LockOption) func(context.Context) {
			return unlocking(l.RLock(ctx, "a", opts...))
		},
		"Unlock of a permit": func(ctx context.Context, l *Locker, opts ...LockOption) func(context.Context) {
			return unlocking(l.Semaphore("a", 2, opts...).Acquire(ctx))
		},
		"Unlock of two handles": func(ctx context.Context, l *Locker, opts ...LockOption) func(context.Context) {
			outer, err := l.Lock(ctx, "a", opts...)
			unlock := unlocking(outer, err)
			nested := unlocking(l.Lock(outer.Context(ctx), "a", WithReentrancy()))
			return func(ctx context.Context) {
				defer unlock(ctx)
				nested(ctx)
			}
		},
		"Locks.Unlock": func(ctx context.Context, l *Locker, opts ...LockOption) func(context.Context) {
			return unlocking(l.LockAll(ctx, threeKeys, opts...))
		},
		"Locks.Unlock beside a lock of its ctx": func(ctx context.Context, l *Locker, opts ...LockOption) func(context.Context) {
			outer, err := l.Lock(ctx, "b", opts...)
			unlock := unlocking(outer, err)
			all := unlocking(l.LockAll(outer.Context(ctx), []string{"b", "c", "d"}, append(opts, WithReentrancy())...))
			return func(ctx context.Context) {
				defer unlock(ctx)
				all(ctx)
			}
		},
	} {
		for _, way := range []struct {
			name, hooks string
			later       time.Duration
			opts        []LockOption
		}{
			{"", "Begin Node Round Unlocked", 0, nil},
			{", extended", "Begin Node Round Unlocked", 0, []LockOption{WithAutoExtend()}},
			{", lost", "Lost Begin Node Round Unlocked", 2 * time.Hour, nil},
			{", extended and lost", "Lost Begin Round Unlocked", 2 * time.Hour, []LockOption{WithAutoExtend()}},
			{", with a minimum hold", "Begin Unlocked", 0, []LockOption{WithMinHold(5 * time.Second)}},
			{", lost with a minimum hold", "Lost Begin Unlocked", 2 * time.Hour, []LockOption{WithMinHold(5 * time.Second)}},
		} {
			tests = append(tests, hookPanic{kind + way.name, way.hooks, func(r *rig, l *Locker, advance func(time.Duration)) func(context.Context) {
				unlock := lock(r.t.Context(), l, way.opts...)
				return func(ctx context.Context) {
					advance(way.later)
					unlock(ctx)
				}
			}})
		}
	}
	return tests
}

// mutexIsFree panics if m is locked for a caller of this process.
func mutexIsFree(m *Mutex) {
	select {
	case m.turn <- struct{}{}:
		<-m.turn
	default:
		panic("the Mutex is still locked")
	}
}

// holdFor has another Locker hold key for d.
func holdFor(r *rig, key string, d time.Duration) {
	lock := r.lock(r.locker(), key)
	time.AfterFunc(d, func() { _ = lock.Unlock(context.Background()) })
}

// If a hook panics in a call and the program goes on, nothing stays locked that nobody has a handle
// on, no cleanup goes on, and the next caller gets the locks.
func TestHookPanicLeavesNothing(t *testing.T) {
	for _, size := range []int{1, 3} {
		for _, test := range hookPanics {
			for _, hook := range strings.Fields(test.hooks) {
				for _, times := range []int{1, 100} {
					if hook == "Node" && size+times > 2 {
						continue // a goroutine of the library calls it
					}
					t.Run(fmt.Sprintf("%s/%s/%d nodes/%d times", test.call, hook, size, times), func(t *testing.T) {
						onRig(t, size, false, func(t *testing.T, r *rig) { panicIn(t, r, test, hook, times) })
					})
				}
			}
		}
	}
}

func panicIn(t *testing.T, r *rig, test hookPanic, hook string, times int) {
	var b bomb
	l := r.locker(WithTTL(time.Hour), WithHooks(b.hooks()))
	advance := suspend(l)
	_ = r.lock(l, "warm").Unlock(t.Context()) // from now on the caller asks a single node itself
	call := test.prepare(r, l, advance)
	synctest.Wait()
	b.arm(hook, times)
	if what := panics(func() { call(t.Context()) }); what != "boom" {
		t.Fatalf("panic %v", what)
	}
	b.arm("", 0)
	time.Sleep(10 * time.Second)
	synctest.Wait()
	r.empty()
	if n := l.Cleanups(); n > 0 {
		t.Errorf("%d cleanups", n)
	}
	if n := l.keeper.Count(); n != (lease.Counts{}) {
		t.Errorf("left: %+v", n)
	}
	if l.group.Closed() {
		l = r.locker()
	}
	next, err := l.LockAll(t.Context(), threeKeys, WithWait(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

// A waiting call in which a hook panics gives up its turn of the budget for attempts. Otherwise later
// callers would wait for a turn for ever.
func TestHookPanicKeepsNoTurn(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(time.Hour), WithHooks(Hooks{Round: func(_ context.Context, e Event) {
			if e.Op == "lock" && e.Tries == 2 {
				panic("boom")
			}
		}}))
		r.lock(r.locker(), "a", WithTTL(time.Hour))
		for range 100 { // more than there are turns
			if what := panics(func() { _, _ = l.Lock(t.Context(), "a", WithWait(time.Minute)) }); what != "boom" {
				t.Fatalf("panic %v", what)
			}
		}
	})
}

// If the hook Node panics for one kind of answers only, the program goes on, even if that happens for
// each key of a call.
func TestNodePanics(t *testing.T) {
	for _, test := range []struct {
		name, op string
		times    int
		call     func(l *Locker)
	}{
		{"LockAll", "lock", 100, func(l *Locker) { _, _ = l.LockAll(context.Background(), threeKeys) }},
		{"Locks.Unlock", "unlock", 3, func(l *Locker) {
			locks, _ := l.LockAll(context.Background(), threeKeys)
			_ = locks.Unlock(context.Background())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			onRig(t, 1, false, func(t *testing.T, r *rig) {
				var b bomb
				l := r.locker(WithTTL(time.Hour), WithHooks(Hooks{Node: func(e NodeEvent) { b.visit(e.Op) }}))
				_ = r.lock(l, "warm").Unlock(t.Context())
				synctest.Wait()
				b.arm(test.op, test.times)
				if what := panics(func() { test.call(l) }); what != "boom" {
					t.Fatalf("panic %v", what)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				r.empty()
				if n := l.Cleanups(); n > 0 {
					t.Errorf("%d cleanups", n)
				}
			})
		})
	}
}

// If the hook Node panics when a waiting caller is granted the lock, the next caller of the same
// process gets it.
func TestNodePanicsForWaiter(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		grants := 0
		l := r.locker(WithTTL(time.Hour), WithHooks(Hooks{Node: func(e NodeEvent) {
			if e.Op == "lock" && e.Outcome == Granted {
				if grants++; grants == 2 {
					panic("boom")
				}
			}
		}}))
		_ = r.lock(l, "warm").Unlock(t.Context())
		holdFor(r, "a", 3*time.Second)
		var all sync.WaitGroup
		all.Go(func() {
			if what := panics(func() { _, _ = l.Lock(t.Context(), "a") }); what != "boom" {
				t.Errorf("panic %v", what)
			}
		})
		synctest.Wait()
		next, err := l.Lock(t.Context(), "a", WithWait(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		all.Wait()
		_ = next.Unlock(t.Context())
		time.Sleep(10 * time.Second)
		r.empty()
	})
}

// An extension that finds the lock lost ends it, even if a hook panics.
func TestHookPanicHidesNoLoss(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		var b bomb
		l := r.locker(WithHooks(b.hooks()))
		lock := r.lock(l, "a")
		if err := r.locker().Release(t.Context(), lock.Handover()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.arm("Round", 1)
		if what := panics(func() { _ = lock.Extend(t.Context(), time.Minute) }); what != "boom" {
			t.Fatalf("panic %v", what)
		}
		if err := lock.Err(); !errors.Is(err, ErrNotHeld) {
			t.Errorf("a lock that was deleted: %v", err)
		}
		_ = lock.Unlock(t.Context())
	})
}
