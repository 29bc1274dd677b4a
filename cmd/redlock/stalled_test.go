//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/embedded"
	"github.com/quorumlock/quorumlock/redlock"
)

// stalled returns a full pipe that nobody reads.
func stalled(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := w.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := w.Write(make([]byte, 1<<20)) // more than a pipe holds
	if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote %d bytes into the pipe: %v", n, err)
	}
	return w
}

// startStalled starts the tool with a stderr that nobody reads.
func startStalled(t *testing.T, nodes string, args ...string) *tool {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = environment("REDLOCK_NODES=" + nodes)
	cmd.Stderr = stalled(t)
	return startAs(t, cmd)
}

// holdJob lets somebody else hold the lock "job". It returns what unlocks it.
func holdJob(t *testing.T, s *embedded.Server) (unlock func()) {
	t.Helper()
	lock, err := rival(t, s.Addr()).Lock(t.Context(), "job", redlock.WithTTL(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// If the lock is lost, the command is stopped and the tool ends, even if nobody reads what the
// tool says.
func TestLossWithStalledStderr(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := startStalled(t, s.Addr(), "run", "--ttl", "3s", "--grace", "100ms", "job", "--", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
	p.stdout.await(t, "tick")
	s.Redis().Del("job")
	p.want(runLost)
}

// A message that nobody reads does not delay the signals. So the command has ended before the
// lock, also if the TTL is short.
func TestKillWithStalledStderr(t *testing.T) {
	const tries = 15 // a busy machine may be slow
	var late time.Duration
	for range tries {
		s := server(t)
		p := startStalled(t, s.Addr(), "run", "--ttl", "900ms", "job", "--", "sh", "-c", `trap "" TERM; while :; do echo tick; sleep 0.01; done`)
		p.stdout.await(t, "tick")
		s.Hang()
		end := time.Now().Add(s.Redis().TTL("job"))
		last := p.lastOutput()
		p.want(runLost)
		if late = last.Sub(end); late < 0 {
			return
		}
	}
	t.Errorf("unsafe: the command lived for %v after the end of the lock", late)
}

// A campaign leads, and ends with a signal, even if nobody reads what the tool says.
func TestCampaignWithStalledStderr(t *testing.T) {
	t.Parallel()
	s := server(t)
	unlock := holdJob(t, s)
	p := startStalled(t, s.Addr(), "campaign", "--ttl", "3s", "--grace", "100ms", "job", "--", "sh", "-c", "echo ran; exec sleep 60")
	time.Sleep(quietWait + 500*time.Millisecond) // until the tool has said for whom it waits
	unlock()
	p.stdout.await(t, "ran")
	p.signal(syscall.SIGTERM)
	p.want(128 + int(syscall.SIGTERM))
	if s.Redis().Exists("job") {
		t.Error("it still leads")
	}
}

// A signal ends the wait for a lock, even if nobody reads for whom the tool waits. So the lock is
// free when its holder has unlocked it.
func TestSignalWithStalledStderr(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args string
		sig  syscall.Signal
	}{
		"run":      {"run --ttl 60s job -- sleep 60", syscall.SIGINT},
		"campaign": {"campaign --ttl 60s job -- sleep 60", syscall.SIGHUP},
		"lock":     {"lock job --ttl 60s", syscall.SIGTERM},
		"polling":  {"lock --retry-count=-1 job 60000", syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			unlock := holdJob(t, s)
			before := s.Commands()
			p := startStalled(t, s.Addr(), strings.Fields(tt.args)...)
			await(t, "it asks for the lock", func() bool { return s.Commands() > before })
			time.Sleep(quietWait + 500*time.Millisecond) // until the tool has said for whom it waits
			p.signal(tt.sig)
			err := p.exited(patient / 3)
			unlock()
			if err != nil {
				time.Sleep(500 * time.Millisecond) // for what it does with the lock
				t.Errorf("%v; job exists: %v", err, s.Redis().Exists("job"))
			}
			p.want(128 + int(tt.sig))
			if s.Redis().Exists("job") || p.stdout.String() != "" {
				t.Errorf("job exists: %v, stdout %q", s.Redis().Exists("job"), p.stdout)
			}
		})
	}
}

// A command that has nothing more to do ends, even if nobody reads why it failed.
func TestEndWithStalledStderr(t *testing.T) {
	t.Parallel()
	s := server(t)
	handover := taken(t, s.Addr())
	s.Redis().Del("job")
	holdJob(t, s)
	for _, tt := range []struct {
		args string
		code int
	}{
		{"run --wait 0 job -- true", runTaken},
		{"run job -- /there/is/none", runNotFound},
		{"campaign job -- /there/is/none", runNotFound},
		{"lock --wait 0 job --ttl 60s", exitFailed},
		{"lock --retry-count 0 job 60000", exitFailed},
		{"extend --ttl 60s " + handover, exitFailed},
		{"unlock " + handover, exitFailed},
		{"unlock other key", exitFailed},
		{"break --yes 00000000 job", breakNotHeld},
		{"leader other", leaderNobody},
		{"status --node " + nobody(t) + " job", statusUnknown},
		{"end-quarantine --node " + nobody(t), exitFailed},
		{"doctor --ttl 0", runUsage},
	} {
		t.Run(strings.Fields(tt.args)[0], func(t *testing.T) {
			t.Parallel()
			startStalled(t, s.Addr(), strings.Fields(tt.args)...).want(tt.code)
		})
	}
}

// A lock that is over before anybody reads stdout is not printed.
func TestLockEndsWithStalledStdout(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{"lock": "lock job --ttl 3s", "json": "lock job --ttl 3s --json", "polling": "lock job 3000"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			cmd := exec.Command(os.Args[0], strings.Fields(args)...)
			cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
			cmd.Stdout = stalled(t)
			p := startAs(t, cmd)
			p.want(exitServers)
			if got := p.stderr.String(); !strings.Contains(got, "so the lock ") || !strings.Contains(got, "was released: its TTL was over before anybody read it") {
				t.Errorf("stderr %q", got)
			}
			if s.Redis().Exists("job") {
				t.Error("the lock is held")
			}
		})
	}
}

// Output that cannot be written is a failure, and no wrong usage.
func TestOutputThatCannotBeWritten(t *testing.T) {
	s := server(t)
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	handover := taken(t, s.Addr())
	for args, code := range map[string]int{
		"version": exitFailed, "completion bash": exitFailed, "status job": exitFailed, "leader job": exitFailed,
		"lock --ttl 60s other": exitServers, "lock other 60000": exitServers, "extend --ttl 60s --json " + handover: exitServers,
	} {
		args := strings.Fields(args)
		if args[0] != "version" && args[0] != "completion" {
			args = append(args, "--node", s.Addr())
		}
		var stderr strings.Builder
		if got, _ := execute(args, closed, &stderr); got != code || !strings.Contains(stderr.String(), "file already closed") {
			t.Errorf("%q: exit code %d, want %d; stderr %q", args, got, code, stderr.String())
		}
	}
	if s.Redis().Exists("other") {
		t.Error("a lock is held that nobody can unlock")
	}
}

// Ctrl-C ends the demo even if nobody reads its stdout any more.
func TestDemoWithStalledStdout(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	cmd := exec.Command(os.Args[0], "demo", "--duration", "60s")
	cmd.Env = environment()
	cmd.Stdout = w
	full, err := os.OpenFile(fmt.Sprintf("/dev/fd/%d", w.Fd()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := startAs(t, cmd)
	for read, buf := "", make([]byte, 512); !strings.Contains(read, "made the counter"); {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		read += string(buf[:n])
	}
	go func() { // the pipe is full from now on
		defer full.Close()
		_, _ = full.Write(make([]byte, 1<<20))
	}()
	time.Sleep(time.Second)
	p.signal(syscall.SIGINT)
	p.want(130)
}

// A signal ends a command even if nobody reads its stdout. A lock that nobody can unlock,
// because nobody has read what that needs, is released.
func TestSignalWithStalledStdout(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args string
		code int
	}{
		"lock":    {"lock job --ttl 60s", 128 + int(syscall.SIGINT)},
		"json":    {"lock job --ttl 60s --json", 128 + int(syscall.SIGINT)},
		"polling": {"lock job 60000", 128 + int(syscall.SIGINT)},
		"watch":   {"status --watch job", statusFree},
		"doctor":  {"doctor --no-probe", 128 + int(syscall.SIGINT)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			cmd := exec.Command(os.Args[0], strings.Fields(tt.args)...)
			cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
			cmd.Stdout = stalled(t)
			p := startAs(t, cmd)
			await(t, "it asks the server", func() bool { return s.Redis().CommandCount() > 0 })
			time.Sleep(time.Second) // until it writes
			p.signal(syscall.SIGINT)
			p.want(tt.code)
			if s.Redis().Exists("job") {
				t.Error("the lock is held")
			}
		})
	}
}
