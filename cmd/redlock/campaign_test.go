//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/long"
)

// lead is the arguments of a campaign for "job" that runs a script.
func lead(script string, flags ...string) []string {
	return append(append([]string{"campaign"}, flags...), "job", "--", "sh", "-c", script)
}

// terms waits until a command has said n times in which term it runs, and returns the terms.
func terms(t *testing.T, p *tool, before string, n int) []uint64 {
	t.Helper()
	var all []uint64
	await(t, "the next term", func() bool {
		all = nil
		for line := range strings.Lines(p.stdout.String()) {
			number, ok := strings.CutPrefix(line, before)
			if term, err := strconv.ParseUint(strings.TrimSuffix(number, "\n"), 10, 64); ok && strings.HasSuffix(line, "\n") && err == nil {
				all = append(all, term)
			}
		}
		return len(all) >= n
	})
	return all
}

// One candidate leads at a time. SIGTERM ends the command of the leader first. Then the next
// candidate leads at once, in a later term.
func TestCampaign(t *testing.T) {
	t.Parallel()
	s := server(t)
	// The TTL is so long that nobody leads for lack of a holder.
	busy := filepath.Join(t.TempDir(), "busy")
	script := `touch ` + busy + `; trap 'sleep 0.3; rm ` + busy + `; echo bye; exit 7' TERM; sleep 600 & echo "ready $REDLOCK_NAME $REDLOCK_FENCE"; wait`
	first := start(t, s.Addr(), lead(script, "--ttl", "10m", "--owner", "first")...)
	one := terms(t, first, "ready job ", 1)[0]
	second := start(t, s.Addr(), lead(`[ -e `+busy+` ] && echo overlap; echo "ready job $REDLOCK_FENCE"; read x; exit 3`, "--ttl", "10m", "--owner", "second")...)
	second.stderr.await(t, `waiting to lead "job", which "first" leads`)

	code, stdout, _ := inProcess("leader", "--node", s.Addr(), "job")
	if code != 0 || stdout != "first\n" {
		t.Errorf("redlock leader: %q, exit code %d", stdout, code)
	}

	first.signal(syscall.SIGTERM)
	first.want(7)
	if got := first.stdout.String(); !strings.HasSuffix(got, "\nbye\n") {
		t.Errorf("the command of the first leader prints %q", got)
	}
	if two := terms(t, second, "ready job ", 1)[0]; two <= one {
		t.Errorf("term %d comes after term %d", two, one)
	}
	if strings.Contains(second.stdout.String(), "overlap") {
		t.Error("the second command began before the first one had ended")
	}
	second.stderr.await(t, `leading "job" after `)
	second.tell("x")
	second.want(3) // it resigns
	code, stdout, stderr := inProcess("leader", "--node", s.Addr(), "job")
	if code != leaderNobody || stdout != "" || !strings.Contains(stderr, `nobody leads "job"`) {
		t.Errorf("redlock leader: %q, %q, exit code %d", stdout, stderr, code)
	}
}

// A leader that has lost the lock stops its command, as run does.
func TestCampaignLost(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), lead(`trap '' TERM; echo ready; while :; do sleep 0.1; done`, "--ttl", "6s", "--grace", "100ms")...)
	p.stdout.await(t, "ready")
	s.Redis().Del("job")
	p.want(runLost)
	got := p.stderr.String()
	for _, want := range []string{
		`lost the leadership of "job": the server ` + s.Addr() + ` does not have it any more`, "stopping the command", "the command does not end, killing it", "the command has ended: killed by SIGKILL",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("stderr %q, want %q", got, want)
		}
	}
}

// With --again the tool campaigns again when the command has ended and when the leadership
// was lost. A signal that the command gets ends the tool.
func TestCampaignAgain(t *testing.T) {
	long.Test(t)
	s := server(t)
	p := start(t, s.Addr(), lead(`echo "term $REDLOCK_FENCE"; read x; exit 5`, "--again", "--ttl", "6s")...)
	terms(t, p, "term ", 1)
	p.tell("x")
	p.stderr.await(t, `campaigning again for the leadership of "job"`)
	terms(t, p, "term ", 2)
	s.Redis().Del("job")
	p.stderr.await(t, `lost the leadership of "job"`)
	if all := terms(t, p, "term ", 3); all[0] >= all[1] || all[1] >= all[2] {
		t.Errorf("terms %d do not rise", all)
	}
	p.signal(syscall.SIGTERM)
	p.want(128 + 15)
	if s.Redis().Exists("job") {
		t.Error("it still leads")
	}
}

// A signal ends the wait.
func TestCampaignGivesUp(t *testing.T) {
	t.Parallel()
	s := server(t)
	leader := start(t, s.Addr(), lead("echo ready; read x")...)
	leader.stdout.await(t, "ready")
	p := start(t, s.Addr(), lead("echo ran")...)
	p.stderr.await(t, `waiting to lead "job"`)
	p.signal(syscall.SIGTERM)
	p.want(128 + 15)
	if got := p.stderr.String(); p.stdout.String() != "" || !strings.Contains(got, `gave up waiting for the leadership of "job"`) {
		t.Errorf("stdout %q, stderr %q", p.stdout, got)
	}
}

// A candidate waits while the servers do not work.
func TestCampaignWaitsForServers(t *testing.T) {
	long.Test(t)
	p := start(t, nobody(t), lead("echo ran", "--ttl", "500ms", "--grace", "0")...)
	p.stderr.await(t, `cannot lead "job" yet, waiting: `)
	if err := p.exited(2 * time.Second); err == nil {
		t.Errorf("it ended")
	}
	p.signal(syscall.SIGINT)
	p.want(128 + 2)
}

// A command that cannot be run ends the campaign, and the leadership.
func TestCampaignCannotRun(t *testing.T) {
	s := server(t)
	p := start(t, s.Addr(), "campaign", "--again", "job", "--", script(t, "text\n"))
	p.want(runCannot)
	if s.Redis().Exists("job") {
		t.Error("it still leads")
	}
	start(t, s.Addr(), "campaign", "--again", "job", "--", "no-such-command").want(runNotFound)
}

// A run inside the command would wait for the leader, and so for itself.
func TestCampaignInsideItself(t *testing.T) {
	s := server(t)
	start(t, s.Addr(), lead(asTool+`=1 "`+os.Args[0]+`" run job -- true; exit $?`)...).want(runUsage)
}

// redlock leader ends with a code of its own if nobody can tell.
func TestLeaderUnknown(t *testing.T) {
	code, stdout, stderr := inProcess("leader", "--node", nobody(t), "job")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, `it is unknown who leads "job": `) || !strings.Contains(stderr, "connection refused") {
		t.Errorf("%q, %q, exit code %d", stdout, stderr, code)
	}
	if code, stdout, stderr := inProcess("leader", "--quiet", "--node", nobody(t), "job"); code != exitFailed || stdout+stderr != "" {
		t.Errorf("with --quiet: %q, %q, exit code %d", stdout, stderr, code)
	}
}

// A term begins without the failures of the one before.
func TestCampaignForgetsFailures(t *testing.T) {
	long.Test(t)
	s := server(t)
	p := start(t, s.Addr(), lead(`echo ready; exec sleep 60`, "--again", "--ttl", "3s", "--grace", "100ms")...)
	p.stdout.await(t, "ready\n")
	s.Hang()
	p.stderr.await(t, "could not extend the leadership")
	p.stderr.await(t, "campaigning again")
	s.Resume()
	p.stdout.await(t, "ready\nready\n")
	before := s.Redis().TTL("job")
	await(t, "an extension", func() bool {
		last := before
		before = s.Redis().TTL("job")
		return before > last
	})
	p.signal(syscall.SIGTERM)
	p.want(143)
	if got := p.stderr.String(); strings.Contains(got, "extended the leadership") {
		t.Errorf("stderr %q: no extension has failed in the second term", got)
	}
}
