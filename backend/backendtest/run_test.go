package backendtest_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

func fresh(context.Context) (backend.Node, func(), error) { return memory.New(), nil, nil }

// In real time, as adapters run it.
func TestMemory(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.Harness{New: fresh})
}

// In real time, with every hook, and behind a fault node.
func TestMemoryBehindAFaultNode(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, new(lab).harness())
}

func TestBareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{client: func(l *lab) backend.Node { return faulty.Bare(l.network) }}
		skipped := l.skips(t)
		if len(skipped) != 5 { // one for each capability
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
		if first := skipped[0]; !strings.HasPrefix(first, "backendtest: skipped: the node is no Scripter: ") || !strings.Contains(first, " of stalled server") {
			t.Errorf("the first line is %q", first)
		}
	})
}

// skips runs all checks, none of which may fail, and returns what was skipped.
func (l *lab) skips(t *testing.T) []string {
	t.Helper()
	var skipped []string
	h := l.harness()
	h.Log = func(format string, args ...any) { skipped = append(skipped, fmt.Sprintf(format, args...)) }
	if err := backendtest.Check(t.Context(), h); err != nil {
		t.Error(err)
	}
	return skipped
}

// A fault node reports a capability as unsupported if the node behind it lacks it. That is not a
// failure.
func TestUnsupportedCapabilities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{client: func(l *lab) backend.Node {
			l.network = faulty.NewFaultNode(faulty.Bare(l.server))
			return l.network
		}}
		skipped := l.skips(t)
		if len(skipped) != 3 || !strings.Contains(skipped[0], "the node is no Scripter here: ") || !strings.Contains(skipped[0], "unsupported") {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// With every hook, only the check that must be requested is skipped.
func TestEveryHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		skipped := new(lab).skips(t)
		if len(skipped) != 1 || !strings.Contains(skipped[0], "Slow") {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// For a harness without hooks, one line names each missing hook, and all other checks run.
func TestNoHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skipped []string
		err := backendtest.Check(t.Context(), backendtest.Harness{
			New: new(lab).node,
			Log: func(format string, args ...any) { skipped = append(skipped, fmt.Sprintf(format, args...)) },
		})
		if err != nil {
			t.Error(err)
		}
		want := []string{"Set", "SetOther", "FlushScripts", "Publish", "Disconnect", "Stall", "SlowDial", "LoseReplies", "Reject", "Slow"}
		for i, line := range skipped {
			if i >= len(want) || !strings.Contains(line, "the harness has no "+want[i]+": ") && !strings.Contains(line, "does not set Slow") {
				t.Errorf("line %d is %q", i, line)
			}
		}
		// The slow check also needs Stall, and the check that needs HasScript needs FlushScripts.
		if len(skipped) != len(want)-1 {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// A check needs exactly what it uses.
func TestNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(lab).harness()
		h.Slow = true
		for _, wrong := range backendtest.WrongNeeds(t.Context(), h) {
			t.Error(wrong)
		}
	})
}

// A hook that does nothing makes checks fail, with an error that names the hook.
func TestIdleHooks(t *testing.T) {
	for _, tc := range []struct {
		hook  string
		idle  func(l *lab, h *backendtest.Harness)
		fails []string
	}{
		{"Stall", func(_ *lab, h *backendtest.Harness) {
			h.Stall = func(context.Context, backend.Node) (func(), error) { return func() {}, nil }
		}, []string{"stalled server/SetNX", "stalled server/recovers", "Batch/keeps no ops", "Eval/keeps no arguments", "Name/no I/O"}},
		{"SlowDial", func(l *lab, h *backendtest.Harness) {
			h.SlowDial = func(ctx context.Context, _ time.Duration) (backend.Node, func(), error) { return l.node(ctx) }
		}, []string{"slow connection/deadline", "slow connection/time enough", "slow connection/after a time-out"}},
		{"LoseReplies", func(l *lab, h *backendtest.Harness) {
			h.LoseReplies = func(context.Context, backend.Node) (func() int, func(), error) {
				l.network.Forget()
				return func() int { return len(l.network.Arrived()) }, func() {}, nil
			}
		}, []string{"lost reply/SetNX", "lost reply/Batch"}},
		{"Disconnect", func(_ *lab, h *backendtest.Harness) {
			h.Disconnect = func(context.Context, backend.Node) error { return nil }
		}, []string{"broken connection/under way", "Subscribe/broken connection"}},
		{"Reject", func(_ *lab, h *backendtest.Harness) {
			h.Reject = func(context.Context, backend.Node, string) (func(), error) { return func() {}, nil }
		}, []string{"error reply/SetNX", "error reply/Batch"}},
		{"Set", func(_ *lab, h *backendtest.Harness) {
			h.Set = func(context.Context, backend.Node, string, string, time.Duration) error { return nil }
		}, []string{"Extend/no expiry"}},
		{"FlushScripts", func(_ *lab, h *backendtest.Harness) {
			h.FlushScripts = func(context.Context, backend.Node) error { return nil }
		}, []string{"flushed scripts/forgotten"}},
		{"HasScript", func(_ *lab, h *backendtest.Harness) {
			h.HasScript = func(context.Context, backend.Node, string) (bool, error) { return false, nil }
		}, []string{"flushed scripts/forgotten"}},
		{"SetOther", func(_ *lab, h *backendtest.Harness) {
			h.SetOther = func(context.Context, backend.Node, string) error { return nil }
		}, []string{"other type/SetNX"}},
		{"Publish", func(_ *lab, h *backendtest.Harness) {
			h.Publish = func(context.Context, backend.Node, string, string) error { return nil }
		}, []string{"Subscribe/hears"}},
	} {
		t.Run(tc.hook, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := new(lab)
				h := l.harness()
				tc.idle(l, &h)
				err := backendtest.Check(t.Context(), h)
				failed := failedChecks(t, err)
				for _, name := range tc.fails {
					if !slices.Contains(failed, name) {
						t.Errorf("the check %q does not fail; those that do:\n%s", name, strings.Join(failed, "\n"))
					}
				}
				named := regexp.MustCompile(`\b` + tc.hook + `\b`)
				for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
					if !named.MatchString(e.Error()) {
						t.Errorf("%v does not name %s", e, tc.hook)
					}
				}
			})
		})
	}
}

// A server whose clock stands still until the harness advances it.
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
			t.Errorf("the key %q lacks the prefix", key)
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

// If a harness cannot make a node, every check fails with the harness's error.
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
	for _, s := range []*backend.Script{lua.Delete, lua.Extend, lua.Inspect} { // package internal/scripttest has the others
		if !slices.Contains(names, "Eval/"+s.Name()) {
			t.Errorf("no check is named Eval/%s, so the replies of that script are not checked", s.Name())
		}
	}
}

// A server knows a script by the hash of its text.
func TestScriptHashes(t *testing.T) {
	for _, s := range backendtest.Scripts {
		sum := sha1.Sum([]byte(s.Source()))
		if want := hex.EncodeToString(sum[:]); s.Hash() != want {
			t.Errorf("the hash of the script %s is %s, want %s", s.Name(), s.Hash(), want)
		}
	}
}
