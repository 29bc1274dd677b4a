package main

import (
	"os/exec"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

// timeout, and each job of a shell with job control, gets a process group of its own. The tool
// stops these groups together with the command.
func TestRunStopsOtherGroups(t *testing.T) {
	long.Test(t)
	const worker = `while :; do echo tick; sleep 0.05; done`
	for name, tt := range map[string]struct{ needs, script string }{
		"timeout":               {"timeout", `timeout 90 sh -c '` + worker + `'; echo next`},
		"timeout, TERM ignored": {"timeout", `timeout 90 sh -c 'trap "" TERM; ` + worker + `'; echo next`},
		"job control":           {"bash", `exec bash -c 'set -m; (` + worker + `) & wait; echo next'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tt.needs); err != nil {
				t.Skipf("it needs %s: %v", tt.needs, err)
			}
			s := server(t)
			p := start(t, s.Addr(), sh(tt.script, "--ttl", "3s", "--grace", "500ms")...)
			p.stdout.await(t, "tick")
			s.Redis().Del("job")
			p.want(runLost) // and nothing has its output open any more
		})
	}
}
