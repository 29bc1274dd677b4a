//go:build unix

package main

import (
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

// nothingLost is a line of the demo's table. Its columns are as wide as the longest line.
var nothingLost = regexp.MustCompile(`(?m)^ *LOST UPDATES +0$`)

func TestDemo(t *testing.T) {
	t.Parallel()
	p := startIn(t, environment(), "demo", "--duration", "3s", "--workers", "3")
	p.want(0)
	got := p.stdout.String()
	if !nothingLost.MatchString(got) || !strings.Contains(got, "With servers of your own: redlock run") {
		t.Error("there is no table, or updates are lost, or it does not say how to go on")
	}
	if got := p.stderr.String(); got != "" {
		t.Errorf("stderr %q", got)
	}
}

func TestDemoInterrupted(t *testing.T) {
	long.Test(t)
	p := startIn(t, environment(), "demo", "--duration", "60s")
	p.stdout.await(t, "made the counter")
	p.signal(syscall.SIGINT)
	p.want(130)
	if got := p.stdout.String(); !nothingLost.MatchString(got) {
		t.Error("there is no table, or updates are lost")
	}
}
