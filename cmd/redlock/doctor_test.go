package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// fit are the options of a server with nothing to complain about.
var fit = []string{"--appendonly", "yes", "--appendfsync", "always"}

// examined runs redlock doctor.
func examined(t *testing.T, nodes string, args ...string) (code int, stdout string) {
	t.Helper()
	code, stdout, stderr := inProcess(append([]string{"doctor", "--node", nodes}, args...)...)
	if stderr != "" {
		t.Errorf("%q: stderr %q", args, stderr)
	}
	return code, stdout
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	a, b, c := realServer(t, fit...), realServer(t, fit...), realServer(t, fit...)
	all := strings.Join([]string{a, b, c}, ",")
	code, stdout := examined(t, all)
	if code != exitOK || strings.Count(stdout, "\n") != 4 || strings.Count(stdout, " ok\n") != 4 {
		t.Errorf("three healthy servers: code %d\n%s", code, stdout)
	}
	code, stdout = examined(t, all, "--verbose")
	for _, want := range []string{"all servers: 3 ok\n", "  ok           version: version ", "  ok           probe: a lock was taken"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("verbose: code %d, no %q:\n%s", code, want, stdout)
		}
	}
	if _, stdout := examined(t, all, "--verbose", "--no-probe"); strings.Contains(stdout, "probe") {
		t.Errorf("a probe:\n%s", stdout)
	}
	code, stdout = examined(t, a+","+b, "--fencing")
	if code != doctorWarnings || !strings.Contains(stdout, "all servers: 1 warning, 2 ok\n  warning      count: 2 servers tolerate no more failures than 1. Add a server or leave one out.\n") {
		t.Errorf("two servers: code %d\n%s", code, stdout)
	}
	code, stdout = examined(t, all, "--quarantine", "31s")
	if code != doctorWarnings || strings.Count(stdout, "begins a quarantine of 31s") != 3 {
		t.Errorf("new servers with a quarantine: code %d\n%s", code, stdout)
	}
	down := nobody(t)
	code, stdout = examined(t, a+","+b+",redis://u:sekrit@"+down)
	if code != doctorFailures || !strings.Contains(stdout, down+": 1 failure\n  failure      connection: connection refused. Start the server, or correct its address.\n") {
		t.Errorf("one is down: code %d\n%s", code, stdout)
	}
	if strings.Contains(stdout, "sekrit") {
		t.Errorf("the password was printed:\n%s", stdout)
	}
	if code, stdout := examined(t, down, "--quiet"); code != doctorFailures || stdout != "" {
		t.Errorf("quiet: code %d, stdout %q", code, stdout)
	}
}

// The documented form for programs.
func TestDoctorJSON(t *testing.T) {
	t.Parallel()
	code, stdout := examined(t, realServer(t, fit...), "--json")
	var report map[string]any
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != doctorWarnings || report["worst"] != "warning" {
		t.Fatalf("code %d, %v:\n%s", code, err, stdout)
	}
	warnings := 0
	for _, f := range report["findings"].([]any) {
		f := f.(map[string]any)
		for _, member := range []string{"check", "server", "level", "what", "advice"} {
			if _, ok := f[member].(string); !ok || len(f) != 5 {
				t.Errorf("%v: no %s", f, member)
			}
		}
		if f["level"] == "warning" {
			warnings++
			if f["check"] != "count" || f["server"] != "" || f["advice"] == "" {
				t.Errorf("%v", f)
			}
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings:\n%s", warnings, stdout)
	}
}

// A reason for which several checks are not made is one line. Embedded servers have no
// CONFIG.
func TestDoctorSaysReasonsOnce(t *testing.T) {
	_, stdout := examined(t, server(t).Addr())
	if strings.Count(stdout, "does not know CONFIG GET") != 1 || !strings.Contains(stdout, "  not checked  ") || !strings.Contains(stdout, "timeout, pubsub-buffer: ") {
		t.Errorf("got\n%s", stdout)
	}
}
