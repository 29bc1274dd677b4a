package scripttest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/check"
	"github.com/quorumlock/quorumlock/internal/scripttest"
)

// In real time, as with servers, with every hook.
func TestMemory(t *testing.T) {
	t.Parallel()
	scripttest.Run(t, check.Server{
		New: func(context.Context) (backend.Node, func(), error) { return memory.New(), nil, nil },
		Set: func(_ context.Context, n backend.Node, key, value string, ttl time.Duration) error {
			n.(*memory.Node).Set(key, value, ttl)
			return nil
		},
		SetOther: func(_ context.Context, n backend.Node, key string) error {
			n.(*memory.Node).Push(key, "element")
			return nil
		},
	})
}

// The same behind a fault node.
func TestMemoryBehindAFaultNode(t *testing.T) {
	t.Parallel()
	scripttest.Run(t, server(whole))
}

// skips runs all checks, none of which may fail, and returns what was skipped.
func skips(t *testing.T, server check.Server) []string {
	t.Helper()
	var skipped []string
	failures, err := scripttest.Check(t.Context(), server, func(format string, args ...any) {
		skipped = append(skipped, fmt.Sprintf(format, args...))
	})
	if err != nil {
		t.Error(err)
	}
	for _, f := range failures {
		t.Errorf("%s: %v", f.Name, f.Err)
	}
	return skipped
}

// With every hook, no check is skipped.
func TestEveryHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if skipped := skips(t, server(whole)); len(skipped) != 0 {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// For each missing hook, one line names the checks that did not run.
func TestNoHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		skipped := skips(t, check.Server{New: server(whole).New})
		if len(skipped) != 2 || !strings.HasPrefix(skipped[0], "scripttest: skipped: the harness has no Set: ") || !strings.Contains(skipped[1], " no SetOther: ") {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// For a node without scripts there is only one line.
func TestBareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		skipped := skips(t, check.Server{New: func(context.Context) (backend.Node, func(), error) {
			return faulty.Bare(memory.New()), nil, nil
		}})
		if len(skipped) != 1 || !strings.HasPrefix(skipped[0], "scripttest: skipped: the node is no Scripter: ") {
			t.Errorf("skipped:\n%s", strings.Join(skipped, "\n"))
		}
	})
}

// A check needs exactly what it uses.
func TestNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wrong := range scripttest.WrongNeeds(t.Context(), server(whole)) {
			t.Error(wrong)
		}
	})
}

func TestCheckNames(t *testing.T) {
	names := scripttest.CheckNames()
	sorted := slices.Sorted(slices.Values(names))
	if unique := slices.Compact(slices.Clone(sorted)); len(unique) != len(names) {
		t.Errorf("two checks have the same name:\n%s", strings.Join(sorted, "\n"))
	}
	for _, s := range lua.All {
		if s == lua.Delete || s == lua.Extend || s == lua.Inspect {
			continue // package backendtest checks these methods of a node
		}
		if !slices.Contains(names, "Eval/"+s.Name()) {
			t.Errorf("no check is named Eval/%s, so the replies of that script are not checked", s.Name())
		}
	}
}
