//go:build unix

package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/redlock"
)

// With --permits so many commands run at a time, each with a number of its own.
func TestRunPermits(t *testing.T) {
	t.Parallel()
	s := server(t)
	script := `echo "permit $REDLOCK_PERMIT of $REDLOCK_NAME"; read x`
	flags := []string{"--prefix", "app:", "--permits", "2", "--owner"}
	first := start(t, s.Addr(), sh(script, append(flags, "first")...)...)
	first.stdout.await(t, "permit ")
	second := start(t, s.Addr(), sh(script, append(flags, "second")...)...)
	second.stdout.await(t, "permit ")
	if got := first.stdout.String() + second.stdout.String(); got != "permit 1 of job\npermit 2 of job\n" && got != "permit 2 of job\npermit 1 of job\n" {
		t.Errorf("the commands print %q", got)
	}

	third := start(t, s.Addr(), sh("echo ran", append(flags, "third", "--wait", "0")...)...)
	third.want(runTaken)
	if got := third.stderr.String(); !strings.Contains(got, `all 2 permits of "job" are taken, by "`) || !strings.Contains(got, `"first"`) || !strings.Contains(got, `"second"`) {
		t.Errorf("stderr %q", got)
	}
	lock := start(t, s.Addr(), sh("echo $REDLOCK_PERMIT", "--prefix", "app:", "--wait", "0")...)
	lock.want(0) // it has nothing to do with the permits
	if got := lock.stdout.String(); got != "\n" {
		t.Errorf("a command under the lock has the permit %q", got)
	}

	waiter := start(t, s.Addr(), sh("echo ran", append(flags, "fourth")...)...)
	waiter.stderr.await(t, `waiting for a permit: all 2 permits of "job" are held, by "`)
	second.tell("x")
	second.want(0)
	waiter.want(0)
	if got := waiter.stderr.String(); !strings.Contains(got, `got the permit of "job" after `) || waiter.stdout.String() != "ran\n" {
		t.Errorf("stdout %q, stderr %q", waiter.stdout, got)
	}
	first.tell("x")
	first.want(0)
	for _, key := range s.Redis().Keys() {
		if strings.Contains(key, "permits") {
			t.Errorf("%s is left", key)
		}
	}
}

// A command that loses its permit is stopped.
func TestRunPermitLost(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh("echo ready; exec sleep 60", "--permits", "1", "--ttl", "6s")...)
	p.stdout.await(t, "ready")
	s.Redis().Del("job{job}:permits:1")
	p.want(runLost)
	if got := p.stderr.String(); !strings.Contains(got, `lost the permit of "job": the server `+s.Addr()+` does not have it any more`) || !strings.Contains(got, "stopping the command") {
		t.Errorf("stderr %q", got)
	}
}

// If the command cannot be started, the permit is free at once, also with --min-hold.
func TestRunPermitMinHold(t *testing.T) {
	s := server(t)
	garbage := script(t, "text\n")
	p := start(t, s.Addr(), "run", "--permits", "1", "--min-hold", "1h", "job", "--", garbage)
	p.want(runCannot)
	if s.Redis().Exists("job{job}:permits:1") {
		t.Error("the permit is held")
	}
	start(t, s.Addr(), "run", "--permits", "1", "--min-hold", "1h", "job", "--", "true").want(0)
	if !s.Redis().Exists("job{job}:permits:1") {
		t.Error("the permit is not held any more")
	}
}

// script writes a file that can be executed.
func script(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/script"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Runs inside each other wait for themselves if they need more permits than there are.
func TestRunPermitsInsideItself(t *testing.T) {
	t.Parallel()
	s := server(t)
	inside := asTool + `=1 "` + os.Args[0] + `" run --permits 2 job -- `
	two := start(t, s.Addr(), sh(inside+"echo ran", "--permits", "2")...)
	two.want(0)
	if got := two.stdout.String(); got != "ran\n" {
		t.Errorf("stdout %q", got)
	}
	three := start(t, s.Addr(), sh(inside+"env "+inside+"true; exit $?", "--permits", "2")...)
	three.want(runUsage)
	if got := three.stderr.String(); !strings.Contains(got, `this run would wait for itself: all 2 permits of "job" are held by the runs of redlock around it`) {
		t.Errorf("stderr %q", got)
	}
	lock := start(t, s.Addr(), sh(asTool+`=1 "`+os.Args[0]+`" run job -- echo ran`, "--permits", "1")...)
	lock.want(0)
}

// If too few servers work, the message says so.
func TestRunPermitsUnavailable(t *testing.T) {
	p := start(t, nobody(t), sh("true", "--permits", "2", "--wait", "0")...)
	p.want(runServers)
	if got := p.stderr.String(); !strings.Contains(got, `no permit of "job": `) || !strings.Contains(got, "connection refused") {
		t.Errorf("stderr %q", got)
	}
}

// status shows the permits that are in use, and who waits for one.
func TestStatusPermits(t *testing.T) {
	t.Parallel()
	s := server(t)
	if _, stdout, _ := inProcess("status", "--node", s.Addr(), "job"); strings.Contains(stdout, "permit") {
		t.Errorf("nobody has a permit, but status prints\n%s", stdout)
	}
	holder := start(t, s.Addr(), sh("echo ready; read x", "--permits", "1", "--owner", "me")...)
	holder.stdout.await(t, "ready")
	waiter := start(t, s.Addr(), sh("true", "--permits", "1", "--owner", "you")...)
	waiter.stderr.await(t, `waiting for a permit: the only permit of "job" is held, by "me"`)
	await(t, "the waiter is queued", func() bool { return s.Redis().Exists("job{job}:permits:queue") })

	code, stdout, _ := inProcess("status", "--node", s.Addr(), "job")
	page := regexp.MustCompile(`(?s)^The lock "job" is free\..*\n1 permit is in use\.\n  PERMIT +STATE +ENDS IN +HOLDER\n  1 +held +\d+s +me #[0-9a-f]{8}\n  waiting +1\n +you #[0-9a-f]{8} for \S+\n$`)
	if code != statusFree || !page.MatchString(stdout) {
		t.Errorf("exit code %d, stdout\n%s", code, stdout)
	}
	code, stdout, _ = inProcess("status", "--json", "--node", s.Addr(), "job")
	line := regexp.MustCompile(`"permits":\[\{"permit":1,"key":"job\{job\}:permits:1","state":"held","owner":"me","fingerprint":"[0-9a-f]{8}","ttl_ms":\d+\}\],` +
		`"permits_waiting":1,"permit_waiters":\[\{"owner":"you","fingerprint":"[0-9a-f]{8}","waited_ms":\d+\}\]`)
	if code != statusFree || !line.MatchString(stdout) {
		t.Errorf("exit code %d, stdout\n%s", code, stdout)
	}
	if code, stdout, _ = inProcess("status", "--node", s.Addr(), "--prefix", "jo"); code != 0 || !strings.Contains(stdout, "job{job}:permits:1  held") || !strings.Contains(stdout, "1 lock: 1 held, 1 waiting") {
		t.Errorf("exit code %d, the list is\n%s", code, stdout)
	}
	if code, stdout, _ = inProcess("status", "--node", s.Addr(), "job{job}:permits:1"); code != statusHeld {
		t.Errorf("exit code %d, the permit is\n%s", code, stdout)
	}
	fingerprint := regexp.MustCompile(`me #([0-9a-f]{8})`).FindStringSubmatch(stdout)
	if fingerprint == nil {
		t.Fatalf("the permit is\n%s", stdout)
	}
	if code, stdout, stderr := inProcess("break", "--node", s.Addr(), "--yes", fingerprint[1], "job{job}:permits:1"); code != 0 {
		t.Errorf("break: exit code %d, %s%s", code, stdout, stderr)
	}
	waiter.want(0)
	holder.tell("x")
	holder.want(runLost)
}

// The callers that wait for a permit are counted once in a list, not once for each slot.
func TestTotalsOfPermits(t *testing.T) {
	var s snapshot
	for _, key := range []string{"a{a}:permits:1", "a{a}:permits:2", "b", "c{c}:permits:1"} {
		s.locks = append(s.locks, lockState{Status: redlock.Status{Key: key, State: redlock.StateHeld, Waiting: 2}})
	}
	if got := s.totals(); got.Held != 4 || got.Waiting != 6 {
		t.Errorf("%+v, want 4 held and 6 waiting", got)
	}
}
