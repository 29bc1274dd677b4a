package redlock

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"
)

// A TTL or a minimum hold above the limit is an error before any I/O, in every call that takes
// one. With a longer one, the times that an attempt keeps would overflow.
func TestTooLong(t *testing.T) {
	const eleven = 11 * 365 * 24 * time.Hour
	r := newRig(t, 1, false)
	l := r.locker()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // so that no call waits for another
	defer cancel()
	f := func(context.Context) error { t.Error("a function ran"); return nil }
	held := r.lock(l, "held")
	handover := held.Handover()
	for _, n := range r.fault {
		n.Forget()
	}
	for _, d := range []time.Duration{longestTTL + 1, eleven, math.MaxInt64} {
		for name, o := range map[string]SharedOption{"a TTL of ": WithTTL(d), "a minimum hold of ": WithMinHold(d)} {
			calls := map[string]func() error{
				"New":        func() error { _, err := New(r.nodes, o); return err },
				"With":       func() error { _, err := l.With(o); return err },
				"Validity":   func() error { _, err := l.Validity(o); return err },
				"Lock":       func() error { _, err := l.Lock(ctx, "k", o); return err },
				"TryLock":    func() error { _, err := l.TryLock(ctx, "k", o); return err },
				"Do":         func() error { return l.Do(ctx, "k", f, o) },
				"TryDo":      func() error { return l.TryDo(ctx, "k", f, o) },
				"RLock":      func() error { _, err := l.RLock(ctx, "k", o); return err },
				"TryRLock":   func() error { _, err := l.TryRLock(ctx, "k", o); return err },
				"DoShared":   func() error { return l.DoShared(ctx, "k", f, o) },
				"LockAll":    func() error { _, err := l.LockAll(ctx, []string{"k", "l"}, o); return err },
				"TryLockAll": func() error { _, err := l.TryLockAll(ctx, []string{"k", "l"}, o); return err },
				"DoAll":      func() error { return l.DoAll(ctx, []string{"k", "l"}, f, o) },
				"TryDoAll":   func() error { return l.TryDoAll(ctx, []string{"k", "l"}, f, o) },
				"nested":     func() error { _, err := l.Lock(held.Context(ctx), "held", WithReentrancy(), o); return err },
				"Mutex":      func() error { return l.Mutex("k", o).Lock(ctx) },
				"Semaphore":  func() error { _, err := l.Semaphore("k", 2, o).Acquire(ctx); return err },
				"Resume":     func() error { _, err := l.Resume(ctx, handover, o); return err },
			}
			if name == "a TTL of " {
				calls["Extend"] = func() error { return held.Extend(ctx, d) }
			}
			for call, f := range calls {
				if err := f(); err == nil || !strings.Contains(err.Error(), name+d.String()) || !strings.Contains(err.Error(), "at most 87600h") {
					t.Errorf("%s with %s%v: %v, want an error that names the limit", call, name, d, err)
				}
			}
		}
	}
	if n := r.calls(); n > 0 {
		t.Errorf("%d calls of nodes", n)
	}
	if err := held.Extend(ctx, longestTTL); err != nil {
		t.Errorf("the longest TTL: %v", err)
	}
	for _, o := range []LockOption{WithTTL(longestTTL), WithMinHold(longestTTL)} {
		if _, err := l.Validity(o); err != nil {
			t.Errorf("the longest: %v", err)
		}
	}
}
