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
