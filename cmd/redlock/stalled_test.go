//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A safeBuffer is written and read at the same time.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) count(word string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), word)
}

// startStalled starts the tool with a stderr that nobody reads.
func startStalled(t *testing.T, nodes string, args ...string) (cmd *exec.Cmd, stdout *safeBuffer) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var filled sync.WaitGroup
	filled.Go(func() { _, _ = w.Write(make([]byte, 1<<20)) }) // more than a pipe holds
	time.Sleep(100 * time.Millisecond)                        // until it is full
	stdout = new(safeBuffer)
	cmd = exec.Command(os.Args[0], args...)
	cmd.Env = environment("REDLOCK_NODES=" + nodes)
	cmd.Stdout, cmd.Stderr = stdout, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		r.Close()
		w.Close()
		filled.Wait()
		_ = cmd.Wait()
	})
	return cmd, stdout
}

// If the lock is lost, the command is stopped, also if nobody reads what the tool says.
func TestLossWithStalledStderr(t *testing.T) {
	t.Parallel()
	s := server(t)
	_, stdout := startStalled(t, s.Addr(), "run", "--ttl", "3s", "--grace", "100ms", "job", "--", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
	await(t, "the command runs", func() bool { return stdout.count("tick") > 0 })
	s.Redis().Del("job")
	await(t, "the command has ended", func() bool {
		before := stdout.count("tick")
		time.Sleep(500 * time.Millisecond)
		return stdout.count("tick") == before
	})
}

// A campaign leads, and ends with a signal, also if nobody reads what the tool says.
func TestCampaignWithStalledStderr(t *testing.T) {
	t.Parallel()
	s := server(t)
	before, err := rival(t, s.Addr()).Lock(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	cmd, stdout := startStalled(t, s.Addr(), "campaign", "--ttl", "3s", "--grace", "100ms", "job", "--", "sh", "-c", "echo ran; exec sleep 60")
	time.Sleep(quietWait + 500*time.Millisecond) // until the tool has said for whom it waits
	if err := before.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the command runs", func() bool { return stdout.count("ran") > 0 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the leadership is over", func() bool { return !s.Redis().Exists("job") })
}
