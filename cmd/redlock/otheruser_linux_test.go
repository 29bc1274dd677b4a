package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asRoot makes the test binary, if it is a setuid program of root, a command of root, as sudo
// is. It ends when its standard input does.
const asRoot = "REDLOCK_TEST_AS_ROOT"

func init() { asSomethingElse[asRoot] = becomeRoot }

func becomeRoot() {
	signal.Ignore(syscall.SIGTERM)
	if err := syscall.Setuid(0); err != nil {
		fmt.Println("no root:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0)
}

// copyTool copies the test binary, so that another user can run it.
func copyTool(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// A command that runs as another user cannot be signalled. The tool says so once, and waits for it.
func TestRunCannotSignalAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can make a program that runs as another user")
	}
	s := server(t)
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	plain, root := filepath.Join(dir, "plain"), filepath.Join(dir, "root")
	copyTool(t, plain, 0o755)
	copyTool(t, root, 0o755|os.ModeSetuid)
	cmd := exec.Command(plain, "run", "--ttl", "3s", "--grace", "100ms", "job", "--", "env", "-u", asTool, asRoot+"=1", root)
	cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p := startAs(t, cmd)
	await(t, "the command", func() bool { return strings.Contains(p.stdout.String(), "\n") })
	if got := p.stdout.String(); got != "ready\n" {
		t.Skipf("no setuid programs here: %s", got)
	}
	const says = `may not stop the command: it runs as another user; use "sudo redlock run NAME -- COMMAND" instead`
	p.signal(syscall.SIGTERM)
	p.stderr.await(t, says)
	s.Redis().Del("job")
	p.stderr.await(t, "killing it")
	p.tell("end")
	p.want(runLost)
	if n := strings.Count(p.stderr.String(), says); n != 1 {
		t.Errorf("it said %d times that it may not stop the command, want once", n)
	}
}
