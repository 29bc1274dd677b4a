package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Ctrl-C ends a loop of bash around the tool, which goes on after a command that has only ended
// with the code 130.
func TestRunInterruptEndsALoop(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here, whose loop is needed")
	}
	s := server(t)
	term := openTerminal(t)
	env := append(environment("REDLOCK_NODES="+s.Addr()), "TOOL="+os.Args[0])
	p := term.start(env, bash, "--norc", "--noprofile", "-c",
		`for i in 1 2; do "$TOOL" run job -- sh -c "echo turn $i; exec sleep 60"; done; echo over`)
	term.screen.await(t, "turn 1")
	term.keys(ctrlC)
	p.want(130)
}

// A signal that ends the tool does so as a signal, which shells and service managers can see.
// A signal that did not come to the tool, or that dumps core, is an exit code.
func TestDiesOfSignals(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args  []string
		taken bool
		sig   syscall.Signal
		dies  bool
	}{
		"run waits":         {[]string{"run", "job", "--", "true"}, true, syscall.SIGINT, true},
		"campaign waits":    {[]string{"campaign", "job", "--", "true"}, true, syscall.SIGTERM, true},
		"lock waits":        {[]string{"lock", "job", "--ttl", "60s"}, true, syscall.SIGHUP, true},
		"polling":           {[]string{"lock", "--retry-count=-1", "job", "60000"}, true, syscall.SIGTERM, true},
		"run":               {sh("echo ready; exec sleep 60"), false, syscall.SIGTERM, true},
		"campaign":          {lead("echo ready; exec sleep 60"), false, syscall.SIGINT, true},
		"quit":              {[]string{"run", "job", "--", "true"}, true, syscall.SIGQUIT, false},
		"the command's own": {sh("echo ready; kill -TERM $$"), false, 0, false},
		"handled":           {sh("trap 'exit 143' TERM; sh -c 'echo ready; exec sleep 60' & wait"), false, syscall.SIGTERM, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			if tt.taken {
				holdJob(t, s)
			}
			before := s.Commands()
			p := start(t, s.Addr(), tt.args...)
			if tt.taken {
				await(t, "it asks for the lock", func() bool { return s.Commands() > before })
			} else {
				p.stdout.await(t, "ready")
			}
			want := syscall.SIGTERM
			if tt.sig != 0 {
				want = tt.sig
				p.signal(tt.sig)
			}
			p.want(128 + int(want))
			if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() != tt.dies {
				t.Errorf("killed by a signal: %v, want %v", status.Signaled(), tt.dies)
			}
		})
	}
}

// Process 1 cannot die of a signal of its own, so it exits with the code.
func TestProcessOneExits(t *testing.T) {
	t.Parallel()
	namespace := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Getuid() != 0 {
		namespace.Cloneflags |= syscall.CLONE_NEWUSER
	}
	probe := exec.Command("true")
	probe.SysProcAttr = namespace
	if err := probe.Run(); err != nil {
		t.Skipf("no process namespaces here: %v", err)
	}
	s := server(t)
	cmd := exec.Command(os.Args[0], sh("echo ready; exec sleep 60")...)
	cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
	cmd.SysProcAttr = namespace
	p := startAs(t, cmd)
	p.stdout.await(t, "ready")
	p.signal(syscall.SIGTERM)
	p.want(143)
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		t.Error("killed by a signal")
	}
}
