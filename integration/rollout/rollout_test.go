package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// In each phase of a change both sides get the lock. When redsync is gone, each process gets it, and
// no call fails.
func TestChange(t *testing.T) {
	s := scale{members: 3, phase: 6 * time.Second, hold: 40 * time.Millisecond}
	results, err := change(t.Context(), servers.Start(t, servers.Any, 1)[0].Addr(), s, transition(s.members))
	t.Log("\n" + table(results, s))
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range results {
		for _, what := range r.starved() {
			t.Errorf("phase %d: %s", n, what)
		}
	}
	if len(results) != 2*s.members+1 {
		t.Errorf("%d phases, want %d", len(results), 2*s.members+1)
	}
}

func TestPhases(t *testing.T) {
	want := []phase{
		{redsyncs, redsyncs}, {changing, redsyncs}, {changing, changing}, {queueing, changing}, {queueing, queueing},
	}
	if got := transition(2); !slices.EqualFunc(got, want, slices.Equal[phase]) {
		t.Errorf("the phases are %q, want %q", got, want)
	}
}

func TestStarved(t *testing.T) {
	for name, tc := range map[string]struct {
		r    result
		want []string
	}{
		"nobody":     {result{phase: phase{redsyncs, redsyncs, changing}, locks: []int{0, 1, 1}, failed: []int{1, 0, 1}}, nil},
		"redsync":    {result{phase: phase{redsyncs, queueing, queueing}, locks: []int{0, 9, 9}, failed: []int{3, 0, 0}}, []string{"redsync: no locks"}},
		"Quorumlock": {result{phase: phase{redsyncs, queueing}, locks: []int{9, 0}, failed: []int{0, 0}}, []string{"queueing: no locks"}},
		"a process":  {result{phase: phase{changing, changing}, locks: []int{1, 0}, failed: []int{0, 0}}, []string{"process 2, changing: 0 locks, 0 calls failed"}},
		"a failed call": {result{phase: phase{queueing, changing}, locks: []int{9, 9}, failed: []int{0, 1}},
			[]string{"process 2, changing: 9 locks, 1 calls failed"}},
	} {
		if got := tc.r.starved(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// The page shows the options that were measured, and both tables.
func TestPage(t *testing.T) {
	const file = "../../docs/migrating/rollout.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"redlock.WithRetry(redlock.Fixed(300*time.Millisecond).Jitter().ThenQueue(2*time.Second))",
		"| 80 to 90 | queueing: ", "| 40 to 50 | queueing: ",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%s has no %q", file, want)
		}
	}
	other := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(other, page, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rollout", "rollout -without"} {
		if err := replace(other, name, "new\n"); err != nil {
			t.Error(err)
		}
	}
	if err := replace(other, "other", ""); err == nil {
		t.Error("a page without the markers was accepted")
	}
}
