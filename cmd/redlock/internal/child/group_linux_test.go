package child

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A process that has ended, and that nobody has waited for yet, does not live.
func TestGroupOfTheDead(t *testing.T) {
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := cmd.Process.Pid
	if !lives(group) {
		t.Error("a process that waits for its input does not live")
	}
	in.Close() // which ends it
	for deadline := time.Now().Add(10 * time.Second); lives(group); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process that has ended lives")
		}
	}
	if err := syscall.Kill(-group, 0); err != nil {
		t.Errorf("the group is gone before anybody has waited for it: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A guard that was told no mark, because this process was killed before it could do that, finds
// no group.
func TestGroupsWithoutAMark(t *testing.T) {
	if groups := groupsWith("", anySession); len(groups) > 0 {
		t.Errorf("%d groups have an empty mark", len(groups))
	}
}
