//go:build unix

package main

import (
	"strings"
	"testing"
)

// The exit code for a lock that is taken can be chosen, and no other code changes with it.
func TestRunTakenExitCode(t *testing.T) {
	t.Parallel()
	s := server(t)
	holder := start(t, s.Addr(), sh(`echo ready; read x`)...)
	holder.stdout.await(t, "ready")
	for flag, code := range map[string]int{"--taken-exit-code=0": 0, "-E75": 75, "-E255": 255} {
		p := start(t, s.Addr(), sh("echo ran", "--wait", "0", flag)...)
		p.want(code)
		said := strings.Contains(p.stderr.String(), `the lock "job" is taken`)
		if p.stdout.String() != "" || said != (code != 0) || code == 0 && p.stderr.String() != "" {
			t.Errorf("%s: stdout %q, stderr %q", flag, p.stdout, p.stderr)
		}
	}
	holder.tell("go on")
	holder.want(0)
	start(t, s.Addr(), sh("exit 3", "--wait", "0", "-E", "75")...).want(3)
	start(t, nobody(t), sh("true", "--wait", "0", "-E", "75")...).want(runServers)
}

// A command that ends with an exit code that is also one of the tool's own is named as its
// origin.
func TestRunNamesTheOriginOfACode(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, tt := range []struct {
		name   string
		script string
		flags  []string
		code   int
		says   string
	}{
		{"timeout", "timeout 0.1 sleep 60", nil, 124, "exit code 124 is from the command itself; from redlock it would mean a lock that was lost"},
		{"xargs", "echo x | xargs sh -c 'exit 255'", nil, 124, "from the command itself"},
		{"a shell", "/", nil, 126, "exit code 126 is from the command itself; from redlock it would mean a command that cannot be run"},
		{"no command of a shell", "no-such-command", nil, 127, "from redlock it would mean a command that does not exist"},
		{"another code", "exit 125", nil, 125, ""},
		{"a code that was chosen", "exit 75", []string{"-E", "75"}, 75, "a lock that is taken"},
		{"a code that was replaced", "exit 121", []string{"-E", "75"}, 121, ""},
		{"success", "true", []string{"-E", "0"}, 0, ""},
		{"quiet", "exit 124", []string{"-q"}, 124, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, s.Addr(), sh(tt.script+" 2>/dev/null", tt.flags...)...)
			p.want(tt.code)
			if got := p.stderr.String(); tt.says == "" && got != "" || !strings.Contains(got, tt.says) {
				t.Errorf("stderr %q, want it to say %q", got, tt.says)
			}
		})
	}
}
