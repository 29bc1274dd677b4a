package core

import (
	"errors"
	"os/exec"
	"slices"
	"testing"
)

func coresOf(t *testing.T, process int) []int {
	t.Helper()
	m, err := get(process)
	if err != nil {
		t.Fatal(err)
	}
	return m.cores()
}

// A child process is pinned, because pinning the threads of this one would slow down other tests.
func TestPin(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip("no process to pin: ", err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	pid := cmd.Process.Pid
	before := coresOf(t, pid)
	last := len(before) - 1
	undo, err := Pin(pid, []int{last})
	if err != nil {
		t.Fatal(err)
	}
	if got := coresOf(t, pid); !slices.Equal(got, before[last:]) {
		t.Errorf("pinned to %v, want %v", got, before[last:])
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if got := coresOf(t, pid); !slices.Equal(got, before) {
		t.Errorf("after undo: %v, want %v", got, before)
	}
	if _, err := Pin(pid, []int{last + 1}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a core that does not exist: %v, want an error that matches errors.ErrUnsupported", err)
	}
	if _, err := Pin(1<<30, []int{0}); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a process that does not exist: %v, want another error", err)
	}
}
