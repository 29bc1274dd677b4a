//go:build unix

package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/long"
)

// A command is stopped before its lock has been held for longer than --max-hold.
func TestRunMaxHold(t *testing.T) {
	long.Test(t)
	s := server(t)
	began := time.Now()
	p := start(t, s.Addr(), sh(`exec env `+asCommand+`=1 "`+os.Args[0]+`"`, "--ttl", "3s", "--grace", "500ms", "--max-hold", "5s")...)
	p.want(runLost)
	if took := time.Since(began); took < 3500*time.Millisecond || took > 9*time.Second {
		t.Errorf("the command was stopped after %v, want about 4.3s", took)
	}
	if got := p.stdout.String(); got != "ready\ngot terminated\n" {
		t.Errorf("the command said %q", got)
	}
	for _, want := range []string{`the lock "job" may be held for 5s at most (--max-hold); stopping the command`, "the command has ended: exit status 5"} {
		if got := p.stderr.String(); !strings.Contains(got, want) {
			t.Errorf("stderr %q, want %q", got, want)
		}
	}
	if s.Redis().Exists("job") {
		t.Error("the lock was not released")
	}
}

// A lock that cannot be extended is lost, also long before the end of --max-hold.
func TestRunMaxHoldIsNoExcuse(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh(`echo ready; sleep 60`, "--ttl", "1500ms", "--grace", "100ms", "--max-hold", "10m")...)
	p.stdout.await(t, "ready")
	s.Hang()
	p.stderr.await(t, "is about to end")
	s.Resume()
	p.want(runLost)
	if got := p.stderr.String(); strings.Contains(got, "--max-hold") {
		t.Errorf("stderr %q", got)
	}
}
