package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/server"
	"github.com/quorumlock/quorumlock/bench/internal/work"
	"github.com/quorumlock/quorumlock/internal/long"
)

// smoke is a plan that does everything once, and measures nothing properly.
func smoke() work.Plan {
	p := work.Quick()
	p.Nodes, p.ContendedNodes = []int{1, 3}, []int{1, 3}
	p.Rounds, p.Pairs, p.Slice = 2, 10, 10*time.Millisecond
	p.Clients, p.FarClients = []int{2, 3}, 3
	p.Loop, p.LongHold, p.Hung = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	p.DistanceSlice = 10 * time.Millisecond
	p.Locks, p.TTL, p.Watch = 50, 600*time.Millisecond, 500*time.Millisecond
	return p
}

// Every work runs with this library and with peers, and its results appear in the table, the CSV,
// the chart and the bars.
func TestSmoke(t *testing.T) {
	long.Test(t)
	dir := t.TempDir()
	s, err := parse([]string{
		"-bars", "-impl", `^(quorumlock|quorumlock-shared|redsync-failfast|redislock|raw|gathered|ceiling)/go-redis$|^rueidislock`,
		"-csv", filepath.Join(dir, "out.csv"), "-svg", filepath.Join(dir, "out.svg"),
	}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	s.plan = smoke()
	var out strings.Builder
	_, err = s.measure(t.Context(), &out, t.Output())
	if errors.Is(err, server.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())

	file, err := os.Open(filepath.Join(dir, "out.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.Comment = '#'
	lines, err := reader.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{} // work, nodes, clients, implementation, metric
	for _, line := range lines[1:] {
		seen[strings.Join(line[:5], " ")] = true
		if line[3] == "quorumlock/go-redis" && (line[4] == "left_waiting" || line[4] == "locks_lost" || line[4] == "errors") && line[5] != "0" {
			t.Errorf("%v, want 0", line)
		}
	}
	if !strings.Contains(out.String(), "distinct-apart, 1 nodes: not measured: ") {
		for _, name := range []string{"quorumlock/go-redis server_idle", "raw/go-redis client_idle", "gathered/go-redis server_idle", "ceiling/go-redis 1x64 cpu_us"} {
			if !seen["distinct-apart 1 64 "+name] {
				t.Errorf("the CSV lacks distinct-apart, %s", name)
			}
		}
		if seen["distinct-apart 1 64 redislock/go-redis cpu_us"] {
			t.Error("the CSV has distinct-apart for another library")
		}
	}
	for _, want := range []string{
		"idle 1 1 quorumlock/go-redis time_us", "idle 1 1 raw/go-redis allocs", "idle 3 1 redsync-failfast/go-redis cpu_us",
		"idle 3 1 quorumlock-shared/go-redis time_us", "several 1 1 quorumlock/go-redis lock_p50_us", "several 3 8 quorumlock/go-redis time_us",
		"distinct 1 64 quorumlock/go-redis pairs_per_s", "distinct 1 64 redislock/go-redis pairs_per_s", "distinct 1 64 ceiling/go-redis 2x32 pairs_per_s",
		"distinct 3 64 quorumlock/go-redis errors", "distinct 3 64 gathered/go-redis errors", "idle 1 1 gathered/go-redis time_us", "distinct 1 64 raw/go-redis server_cpu_us", "distinct 3 64 quorumlock/go-redis bytes",
		"drain 1 3 quorumlock/go-redis drain_ms", "drain 3 3 redsync-failfast/go-redis commands", "drain 1 2 rueidislock/rueidis left_waiting",
		"handoff 3 3 quorumlock/go-redis jain", "handoff-far 1 3 quorumlock/go-redis far_share",
		"long-hold 1 2 quorumlock/go-redis commands", "long-hold 3 3 quorumlock/go-redis commands",
		"healthy 3 1 quorumlock/go-redis lock_p99_us", "hung 3 1 quorumlock/go-redis unlock_p99_us",
		"idle+1ms 1 1 quorumlock/go-redis time_us", "distinct+1ms 1 64 rueidislock/rueidis pairs_per_s",
		"held 1 50 quorumlock/go-redis extensions_per_s", "held 1 50 rueidislock/rueidis goroutines",
	} {
		if seen[want] {
			continue
		}
		// On a busy machine, other libraries may hang. They are left out with a note.
		f := strings.Fields(want)
		left := fmt.Sprintf("%s, %s nodes, %s clients: %s failed and was left out: ", f[0], f[1], f[2], f[3])
		if !strings.HasPrefix(f[3], "quorumlock/") && strings.Contains(out.String(), "note: "+left) {
			t.Logf("the CSV lacks %q, because %s…", want, left)
			continue
		}
		t.Errorf("the CSV lacks %q", want)
	}
	if chart, err := os.ReadFile(filepath.Join(dir, "out.svg")); err != nil || !strings.Contains(string(chart), "Throughput") {
		t.Errorf("the chart: %v, %d bytes", err, len(chart))
	}
	again := filepath.Join(dir, "again.svg")
	if code := run(t.Context(), []string{"-draw", file.Name(), "-svg", again}, t.Output(), t.Output()); code != 0 {
		t.Errorf("-draw: exit code %d", code)
	}
	if chart, err := os.ReadFile(again); err != nil || !strings.Contains(string(chart), "Throughput") {
		t.Errorf("the redrawn chart: %v, %d bytes", err, len(chart))
	}
	for _, want := range []string{"idle, 3 nodes, 1 client\n", "held, 1 node, 50 locks\n", "idle pair, N=1, go-redis: time ÷ raw/go-redis", "not measured"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"help", []string{"-h"}, 0, "-quick"},
		{"list", []string{"-list"}, 0, "implementation redsync/redigo: github.com/go-redsync/redsync/v4 v4."},
		{"unknown flag", []string{"-fast"}, 2, "-fast"},
		{"draw nowhere", []string{"-draw", "a.csv"}, 2, "-svg"},
		{"draw nothing", []string{"-draw", "no such file", "-svg", "a.svg"}, 1, "no such file"},
		{"no regular expression", []string{"-work", "("}, 2, "missing closing"},
		{"argument", []string{"idle"}, 2, `unexpected argument "idle"`},
		{"no number", []string{"-nodes", "one"}, 2, `"one" is no number of nodes`},
		{"no server", []string{"-addrs", "127.0.0.1:1"}, 1, "127.0.0.1:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if code := run(t.Context(), test.args, &out, &out); code != test.code || !strings.Contains(out.String(), test.want) {
				t.Errorf("exit code %d, want %d, and output with %q:\n%s", code, test.code, test.want, out.String())
			}
		})
	}
}

func TestPlans(t *testing.T) {
	s, err := parse([]string{"-quick", "-rounds", "3", "-seconds", "0.5", "-nodes", "3"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if p := s.plan; p.Rounds != 3 || p.Slice != time.Second/2 || len(p.Nodes) != 1 || p.Nodes[0] != 3 || len(p.DistanceNodes) != 0 || p.Servers() != 3 {
		t.Errorf("the plan is %+v", p)
	}
	if s.whole {
		t.Error("a quick run counts as a whole one, so all bars would have to be measured")
	}
	if s, err := parse(nil, t.Output()); err != nil || !s.whole || s.plan.Servers() != 5 {
		t.Errorf("without arguments: whole %v, %d servers, %v", s.whole, s.plan.Servers(), err)
	}
}
