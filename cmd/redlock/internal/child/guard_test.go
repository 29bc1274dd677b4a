//go:build unix

package child

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	BecomeGuard()
	os.Exit(m.Run())
}

// A guard kills the group of the command when the process that started it ends, which here
// is the end of its pipe, unless it was told to leave it alone.
func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name   string
		act    func(g *guard, group int)
		killed bool
	}{
		{"watches a group", func(g *guard, group int) { g.watch(group); g.pipe.Close() }, true},
		{"knows its mark only", func(g *guard, _ int) { g.pipe.Close() }, runtime.GOOS == "linux"},
		{"leaves", func(g *guard, group int) { g.watch(group); g.leave() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const mark = "QUORUMLOCK_TEST_MARK=1"
			cmd := exec.Command("sleep", "60")
			cmd.Env = []string{mark}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			g, err := startGuard(nil, mark)
			if err != nil {
				t.Fatal(err)
			}
			tt.act(g, cmd.Process.Pid)
			wait := 10 * time.Second
			if !tt.killed {
				wait = 300 * time.Millisecond
			}
			select {
			case <-ended:
				if !tt.killed {
					t.Error("the command was killed")
				}
				return
			case <-time.After(wait):
				if tt.killed {
					t.Error("the command lives on")
				}
			}
			_ = cmd.Process.Kill()
			<-ended
		})
	}
}

// On Linux, a guard also kills what has left the group of the command, but not its session.
func TestGuardOtherGroups(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("environments cannot be read here")
	}
	const mark = "QUORUMLOCK_TEST_MARK=2"
	start := func(attributes *syscall.SysProcAttr) (pid int, ended chan error) {
		t.Helper()
		cmd := exec.Command("sleep", "60")
		cmd.Env = []string{mark}
		cmd.SysProcAttr = attributes
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		ended = make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return cmd.Process.Pid, ended
	}
	group, one := start(&syscall.SysProcAttr{Setpgid: true})
	_, other := start(&syscall.SysProcAttr{Setpgid: true})
	_, daemon := start(&syscall.SysProcAttr{Setsid: true})
	g, err := startGuard(nil, mark)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.watch(group); err != nil {
		t.Fatal(err)
	}
	g.pipe.Close()
	for what, ended := range map[string]chan error{"the command": one, "another group": other} {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%s lives on", what)
		}
	}
	select {
	case <-daemon:
		t.Error("what has left the session was killed")
	case <-time.After(300 * time.Millisecond):
	}
}
