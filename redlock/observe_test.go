package redlock

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// spanKey is the key of a tracer's span in a ctx.
type spanKey struct{}

func inSpan(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, spanKey{}, name)
}

// Each hook gets the ctx of the call. A hook without a call gets the values of the acquiring
// call's ctx.
func TestHooksGetTheContext(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var spans []string
		var ended error
		note := func(kind string) func(context.Context, Event) {
			return func(ctx context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				span, _ := ctx.Value(spanKey{}).(string)
				spans = append(spans, kind+" "+span)
				if kind == "extended" || kind == "lost" {
					ended = errors.Join(ended, ctx.Err())
				}
			}
		}
		l := r.locker(WithTTL(3*time.Second), WithHooks(Hooks{
			Waiting: note("waiting"), Locked: note("locked"), Extended: note("extended"), Unlocked: note("unlocked"), Lost: note("lost"),
		}))
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(spans, want) {
				t.Errorf("spans %q, want %q", spans, want)
			}
			spans = nil
		}
		ctx := t.Context()
		lock, err := l.Lock(inSpan(ctx, "A"), "k")
		if err != nil {
			t.Fatal(err)
		}
		_ = lock.Extend(inSpan(ctx, "B"), time.Minute)
		_, _ = l.Lock(inSpan(ctx, "C"), "k", WithWait(time.Second))
		_ = lock.Unlock(inSpan(ctx, "D"))
		_, _ = l.Resume(inSpan(ctx, "E"), lock.Handover())
		_ = l.Release(inSpan(ctx, "F"), lock.Handover())
		expect("locked A", "extended B", "waiting C", "locked C", "unlocked D", "locked E", "unlocked F")

		short, cancel := context.WithCancel(inSpan(ctx, "G"))
		lock, err = l.Lock(short, "k", WithAutoExtend())
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(1500 * time.Millisecond)
		expect("locked G", "extended G")
		for _, m := range r.mem {
			m.Flush()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		_ = lock.Unlock(ctx)
		expect("lost G", "extended G", "unlocked ")
		if ended != nil {
			t.Errorf("the ctx of a hook without a caller has ended: %v", ended)
		}
	})
}

// A gauge of waiters goes up with Waiting, and down with a Locked whose event has Waited.
func TestHooksCountWaiters(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		waiters, most, calls := 0, 0, 0
		l := r.locker(WithTTL(30*time.Second), WithHooks(Hooks{
			Waiting: func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				if !e.Waited || e.Err == nil {
					t.Errorf("Waiting: %+v", e)
				}
				waiters++
				most = max(most, waiters)
			},
			Locked: func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				if e.Waited {
					waiters--
				}
			},
		}))
		gauge := func(want int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if waiters != want {
				t.Errorf("%d waiters, want %d", waiters, want)
			}
		}
		lock := r.lock(l, "k")
		gauge(0)
		_, _ = l.TryLock(t.Context(), "k")
		_, _ = l.Lock(t.Context(), "k", WithWait(0))
		gauge(0) // these callers do not wait

		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			all.Go(func() {
				lock, err := l.Lock(ctx, "k", WithRetry([]RetryPolicy{{}, Fixed(time.Second)}[i/4]))
				if err == nil {
					_ = lock.Unlock(ctx)
				}
			})
		}
		gauge(5)
		cancel()
		all.Wait()
		gauge(0)
		_ = lock.Unlock(t.Context())

		r.setAll(faulty.Refuse(nil))
		all.Go(func() { _, _ = l.Lock(t.Context(), "k") })
		time.Sleep(50 * time.Millisecond)
		gauge(1)
		all.Wait()
		gauge(0)
		if most != 5 || calls != 9 {
			t.Errorf("%d waiters at most, %d calls; want 5 and 9", most, calls)
		}
	})
}

// Held reports the hold time of each lock once, however the lock ended.
func TestHooksReportHoldTimes(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var held []time.Duration
		note := func(_ context.Context, e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Held != 0 {
				held = append(held, e.Held)
			}
		}
		l := r.locker(WithReentrancy(), WithHooks(Hooks{Waiting: note, Locked: note, Extended: note, Unlocked: note, Lost: note}))
		unlocked := r.lock(l, "a")
		time.Sleep(2 * time.Second)
		nested, err := l.TryLock(unlocked.Context(t.Context()), "a")
		if err != nil {
			t.Fatal(err)
		}
		_ = unlocked.Unlock(t.Context())
		time.Sleep(time.Second)
		_ = nested.Unlock(t.Context())
		_ = nested.Unlock(t.Context())

		lost := r.lock(l, "b")
		time.Sleep(15 * time.Second)
		_ = lost.Unlock(t.Context())
		_ = l.Release(t.Context(), lost.Handover())

		_ = l.Do(t.Context(), "c", func(context.Context) error { time.Sleep(20 * time.Second); return nil })

		if want := []time.Duration{3 * time.Second, 15 * time.Second, 20 * time.Second}; !slices.Equal(held, want) {
			t.Errorf("held for %v, want %v", held, want)
		}
	})
}

// All hooks run, those of the Locker first. The hooks of a derived Locker see only its own locks.
func TestHooksAreCombined(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var told []string
		note := func(who string) DerivedOption {
			say := func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, who+" "+e.Key)
			}
			return WithHooks(Hooks{Locked: say, Lost: say})
		}
		l := r.locker(WithKeyPrefix("p:"), note("first"), WithHooks(Hooks{}), note("second"))
		library, err := l.With(note("library"), WithTTL(time.Minute), WithOwner("library"))
		if err != nil {
			t.Fatal(err)
		}
		a, b := r.lock(l, "a"), r.lock(library, "b")
		if want := []string{"first p:a", "second p:a", "first p:b", "second p:b", "library p:b"}; !slices.Equal(told, want) {
			t.Errorf("hooks %q, want %q", told, want)
		}
		told = nil
		if until := time.Until(b.Until()); until < 50*time.Second {
			t.Errorf("the derived Locker's lock is valid for %v", until)
		}
		if until := time.Until(a.Until()); until > 10*time.Second {
			t.Errorf("the first Locker's lock is valid for %v: deriving changed that Locker", until)
		}
		_, err = library.TryLock(t.Context(), "a")
		matches(t, err, ErrTaken)

		// A ctx that holds a key holds it for both Lockers.
		nested, err := library.TryLock(a.Context(t.Context()), "a", WithReentrancy())
		if err != nil {
			t.Fatal(err)
		}
		for _, lock := range []*Lock{nested, a, b} {
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if _, err := l.With(WithTTL(-1)); err == nil {
			t.Error("a bad option was accepted")
		}
		if _, err := l.With(nil); err == nil {
			t.Error("a nil option was accepted")
		}
		if _, err := new(Locker).With(); err == nil {
			t.Error("a zero Locker was accepted")
		}
		if err := library.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = l.TryLock(t.Context(), "a")
		matches(t, err, ErrClosed)
		r.clear()
		r.empty()
	})
}

// panics returns the value that f panicked with.
func panics(f func()) (what any) {
	defer func() { what = recover() }()
	f()
	return nil
}

// A hook that panics on the caller's goroutine leaves no lock that nobody can unlock, and no
// caller waiting.
func TestHookPanics(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		panicking := true
		boom := func(context.Context, Event) {
			if panicking {
				panic("boom")
			}
		}
		ctx := t.Context()
		l := r.locker(WithHooks(Hooks{Waiting: boom, Locked: boom}))
		if what := panics(func() { _, _ = l.Lock(ctx, "k", WithAutoExtend()) }); what != "boom" {
			t.Fatalf("Lock: panic %v", what)
		}
		synctest.Wait()
		r.empty()

		panicking = false
		held := r.lock(l, "k")
		panicking = true
		if what := panics(func() { _, _ = l.Lock(ctx, "k") }); what != "boom" {
			t.Fatalf("Lock of a taken key: panic %v", what)
		}
		panicking = false
		if err := held.Unlock(ctx); err != nil {
			t.Error(err)
		}

		for _, hooks := range []Hooks{{Unlocked: boom}, {Lost: boom}} {
			l := r.locker(WithHooks(hooks))
			lock := r.lock(l, "k")
			if hooks.Lost != nil {
				time.Sleep(time.Minute)
			}
			panicking = true
			if what := panics(func() { _ = lock.Unlock(ctx) }); what != "boom" {
				t.Fatalf("Unlock: panic %v", what)
			}
			panicking = false
			start := time.Now()
			_ = lock.Unlock(ctx) // does not wait for the first one
			took(t, start, 0, time.Second)
			synctest.Wait()
			r.empty()
		}
	})
}
