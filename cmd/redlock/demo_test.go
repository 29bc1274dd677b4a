//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

func TestDemo(t *testing.T) {
	p := startIn(t, environment(), "demo", "--duration", "3s", "--workers", "3")
	p.want(0)
	for _, want := range []string{"LOST UPDATES      0\n", "With servers of your own: redlock run"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("stdout lacks %q", want)
		}
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
	if got := p.stdout.String(); !strings.Contains(got, "LOST UPDATES      0\n") {
		t.Error("there is no table")
	}
}
