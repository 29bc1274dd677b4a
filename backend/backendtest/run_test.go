package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

func fresh(context.Context) (backend.Node, func(), error) { return memory.New(), nil, nil }

// In real time, as adapters run it.
func TestMemory(t *testing.T) {
	backendtest.Run(t, backendtest.Harness{New: fresh})
}

// In real time, with every hook, and with a fault node in front.
func TestMemoryBehindAFaultNode(t *testing.T) {
	backendtest.Run(t, new(lab).harness())
}

func TestBareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{client: func(l *lab) backend.Node { return backendtest.Bare(l.network) }}
		skipped := 0
		h := l.harness()
		h.Log = func(format string, args ...any) { skipped++ }
		if err := backendtest.Check(t.Context(), h); err != nil {
			t.Error(err)
		}
		if skipped == 0 {
			t.Error("no check was skipped for a node without capabilities")
		}
	})
}

// A fault node answers that a capability is unsupported where the node behind
// it has none; that is no failure.
func TestUnsupportedCapabilities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{client: func(l *lab) backend.Node {
			l.network = backendtest.NewFaultNode(backendtest.Bare(l.server))
			return l.network
		}}
		var skipped []string
		h := l.harness()
		h.Log = func(format string, args ...any) { skipped = append(skipped, fmt.Sprintf(format, args...)) }
		if err := backendtest.Check(t.Context(), h); err != nil {
			t.Error(err)
		}
		if len(skipped) == 0 || !strings.Contains(strings.Join(skipped, "\n"), "not supported") {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// With every hook, no check is skipped but the one that must be asked for.
func TestEveryHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skipped []string
		h := new(lab).harness()
		h.Log = func(format string, args ...any) { skipped = append(skipped, fmt.Sprintf(format, args...)) }
		if err := backendtest.Check(t.Context(), h); err != nil {
			t.Error(err)
		}
		if len(skipped) != 1 || !strings.Contains(skipped[0], "Slow") {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// A server whose clock stands still until the harness moves it.
func TestAdvance(t *testing.T) {
	now := time.Now()
	var advanced time.Duration
	n := memory.New(memory.WithClock(func() time.Time { return now.Add(advanced) }))
	began := time.Now()
	err := backendtest.Check(t.Context(), backendtest.Harness{
		New:     backendtest.Reuse(n),
		Prefix:  "lock:",
		Advance: func(d time.Duration) { advanced += d },
	})
	if err != nil {
		t.Error(err)
	}
	if advanced == 0 {
		t.Errorf("the clock was never advanced, in %v", time.Since(began))
	}
	for _, key := range n.Keys() {
		if !strings.HasPrefix(key, "lock:") {
			t.Errorf("the key %q has not the prefix", key)
		}
	}
}

func TestCheckEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backendtest.Check(ctx, backendtest.Harness{New: fresh}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// A harness without a node is a failure of every check, with its own error.
func TestNoNode(t *testing.T) {
	down := errors.New("the server is down")
	err := backendtest.Check(t.Context(), backendtest.Harness{
		New: func(context.Context) (backend.Node, func(), error) { return nil, nil, down },
	})
	if !errors.Is(err, down) {
		t.Errorf("got %v, want %v", err, down)
	}
	var failed *backendtest.CheckError
	if !errors.As(err, &failed) || failed.Check == "" || failed.Why == "" || !strings.Contains(failed.Error(), failed.Check) {
		t.Errorf("got %#v", failed)
	}
}

func TestReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made, released := 0, 0
		err := backendtest.Check(t.Context(), backendtest.Harness{
			New: func(context.Context) (backend.Node, func(), error) {
				made++
				return memory.New(), func() { released++ }, nil
			},
		})
		if err != nil || made == 0 || made != released {
			t.Errorf("%d nodes were made and %d released, %v", made, released, err)
		}
	})
}

func TestCheckNames(t *testing.T) {
	names := backendtest.CheckNames()
	sorted := slices.Sorted(slices.Values(names))
	if unique := slices.Compact(slices.Clone(sorted)); len(unique) != len(names) {
		t.Errorf("two checks have the same name:\n%s", strings.Join(sorted, "\n"))
	}
	for _, s := range lua.All {
		if !slices.Contains(names, "Eval/"+s.Name()) {
			t.Errorf("no check is named Eval/%s: what that script answers is not checked", s.Name())
		}
	}
}
