package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/internal/long"
)

// A pause that the lock survives does not end the command: the extension that was due during the
// pause comes first.
func TestRunSurvivesAPause(t *testing.T) {
	long.Test(t)
	s := server(t)
	proxy := netfault.New(t, s.Addr())
	proxy.Delay(netfault.ToClient, 20*time.Millisecond)
	p := start(t, proxy.Addr(), sh(`echo ready; read x; exit 5`, "--ttl", "6s", "--grace", "2s")...)
	p.stdout.await(t, "ready")
	p.signal(syscall.SIGSTOP)
	await(t, "more than the time until the command is stopped", func() bool { return s.Redis().TTL("job") < 1800*time.Millisecond })
	p.signal(syscall.SIGCONT)
	await(t, "an extension", func() bool { return s.Redis().TTL("job") > 5*time.Second })
	p.tell("end")
	p.want(5)
	if got := p.stderr.String(); got != "" {
		t.Errorf("stderr %q", got)
	}
}

// After a pause, the command gets no more time to end than is left of the lock.
func TestRunKillsSoonerAfterAPause(t *testing.T) {
	long.Test(t)
	const tries = 3 // a busy machine may be slow
	var late time.Duration
	for range tries {
		s := server(t)
		p := start(t, s.Addr(), sh(`trap "" TERM; while :; do echo tick; sleep 0.01; done`, "--ttl", "6s", "--grace", "2s")...)
		p.stdout.await(t, "tick")
		p.signal(syscall.SIGSTOP)
		await(t, "less than the grace period", func() bool { return s.Redis().TTL("job") < 1500*time.Millisecond })
		s.Hang()
		end := time.Now().Add(s.Redis().TTL("job"))
		p.signal(syscall.SIGCONT)
		last := p.lastOutput()
		p.want(runLost)
		if late = last.Sub(end); late < 0 {
			return
		}
	}
	t.Errorf("the command lived for %v after the end of the lock", late)
}
