//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A command that ends sooner than --min-hold leaves the lock, so that no other machine runs it
// again in the same period.
func TestRunMinHold(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh("echo ran", "--min-hold", "20s", "--ttl", "5s")...)
	p.want(0)
	if got := p.stderr.String(); got != "" {
		t.Errorf("stderr %q", got)
	}
	if left := s.Redis().TTL("job"); left < 19*time.Second || left > 21*time.Second {
		t.Fatalf("the lock lives on for %v, want about 20s", left)
	}
	p = start(t, s.Addr(), sh("echo ran", "--min-hold", "20s", "--wait", "0")...)
	p.want(runTaken)
	s.Redis().FastForward(21 * time.Second)
	p = start(t, s.Addr(), sh("echo ran", "--min-hold", "20s", "--wait", "0")...)
	p.want(0)

	for _, flag := range []string{"0s", "-1s"} {
		p = start(t, s.Addr(), sh("echo ran", "--min-hold", flag)...)
		p.want(runUsage)
		if !strings.Contains(p.stderr.String(), "--min-hold") {
			t.Errorf("stderr %q", p.stderr.String())
		}
	}
}

// A command that cannot be run leaves no lock.
func TestRunMinHoldOfNoCommand(t *testing.T) {
	s := server(t)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/nowhere/at/all\n"), 0o755); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	p := start(t, s.Addr(), "run", "--min-hold", "20s", "job", "--", broken)
	if code := p.wait(); code == 0 {
		t.Fatal("it ran")
	}
	if s.Redis().Exists("job") {
		t.Error("the lock stays although nothing ran")
	}
}
