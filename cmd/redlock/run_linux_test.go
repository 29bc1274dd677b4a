package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quorumlock/quorumlock/redlock"
)

// asSubreaper makes the test binary the tool that gets the orphans among its descendants,
// as process 1 of a container does.
const asSubreaper = "REDLOCK_TEST_AS_SUBREAPER"

func init() { asSomethingElse[asSubreaper] = subreaper }

func subreaper() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	panic(syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), asTool+"=1")))
}

// Where the tool is process 1, nobody else waits for orphans.
func TestRunReapsOrphans(t *testing.T) {
	t.Parallel()
	const script = `pid=$( (sh -c 'echo $$; exec sleep 0.1 >&-' &) )
		i=0; while kill -0 $pid; do i=$((i+1)); [ $i -gt 200 ] && exit 9; sleep 0.02; done 2>/dev/null; exit 5`
	s := server(t)
	for _, tt := range []struct {
		name string
		as   string
		flag uintptr
	}{
		{"as a subreaper", asSubreaper, 0},
		{"as process 1", asTool, syscall.CLONE_NEWPID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			namespace := &syscall.SysProcAttr{Cloneflags: tt.flag}
			if tt.flag != 0 && os.Getuid() != 0 {
				namespace.Cloneflags |= syscall.CLONE_NEWUSER
			}
			probe := exec.Command("true")
			probe.SysProcAttr = namespace
			if err := probe.Run(); err != nil {
				t.Skipf("no process namespaces here: %v", err)
			}
			run := func(args ...string) *tool {
				cmd := exec.Command(os.Args[0], args...)
				cmd.Env = append(environment("REDLOCK_NODES=" + s.Addr())[1:], tt.as+"=1")
				cmd.SysProcAttr = namespace
				return startAs(t, cmd)
			}
			run(sh(script)...).want(5)
			for range 10 { // a status is not lost, however soon the command ends
				run("run", "job", "--", "false").want(1)
			}
			run("run", "job", "--", "/").want(126)
		})
	}
}

// terminal is a pseudo-terminal: what a person sees and types, and the side of
// it that processes use.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	screen *output
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failure error
	if err := conn.Control(func(fd uintptr) {
		if failure = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failure == nil {
			number, failure = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil || failure != nil {
		t.Fatal(err, failure)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	term := &terminal{t: t, master: master, slave: slave, screen: newOutput()}
	go term.screen.copy(master)
	t.Cleanup(func() {
		_ = slave.Close()
		if t.Failed() {
			t.Logf("the terminal showed:\n%s", term.screen)
		}
	})
	return term
}

// start runs a command in a session of its own, whose terminal this is.
func (term *terminal) start(env []string, name string, args ...string) *tool {
	term.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		term.t.Fatal(err)
	}
	p := &tool{t: term.t, cmd: cmd, ended: make(chan struct{}), stdout: term.screen, stderr: term.screen}
	go func() {
		p.status = cmd.Wait()
		close(p.ended)
	}()
	term.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
	})
	return p
}

func (term *terminal) keys(s string) {
	term.t.Helper()
	if _, err := term.master.WriteString(s); err != nil {
		term.t.Fatal(err)
	}
}

const ctrlC, ctrlZ = "\x03", "\x1a"

// A command that asks questions gets the terminal when it wants it.
func TestRunTerminalQuestion(t *testing.T) {
	t.Parallel()
	s := server(t)
	term := openTerminal(t)
	p := term.start(environment("REDLOCK_NODES="+s.Addr()), os.Args[0],
		"run", "job", "--", "sh", "-c", `echo "sure?"; read x; echo "you said $x"; exit 4`)
	term.screen.await(t, "sure?")
	term.keys("yes\n")
	term.screen.await(t, "you said yes")
	p.want(4)
}

func TestRunTerminalInterrupt(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, tt := range []struct{ name, script string }{
		{"in the background", `trap 'echo interrupted; kill $!; exit 5' INT; sleep 60 & echo "ready"; wait`},
		{"with the terminal", `trap 'echo interrupted; kill $!; exit 5' INT; echo name?; read x; sleep 60 & echo "ready $x"; wait`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			term := openTerminal(t)
			p := term.start(environment("REDLOCK_NODES="+s.Addr()), os.Args[0], "run", "job", "--", "sh", "-c", tt.script)
			if strings.Contains(tt.script, "read x") {
				term.screen.await(t, "name?")
				term.keys("\n")
			}
			term.screen.await(t, "ready")
			term.keys(ctrlC)
			term.screen.await(t, "interrupted")
			p.want(5)
		})
	}
}

// Ctrl-Z stops the command and the tool, as the shell expects, and fg lets both
// go on, unless the lock is lost.
func TestRunTerminalSuspend(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here, whose job control is needed")
	}
	for _, tt := range []struct {
		name, script string
		lost         bool
		want         string
	}{
		{"in the background", `trap 'kill $!; exit 7' INT; sleep 60 & echo ready; wait; exit 6`, false, ""},
		{"with the terminal", `echo name?; read x; echo ready; read y; echo "got $y"; exit 6`, false, "got more"},
		{"lost meanwhile", `echo name?; read x; echo ready; read y; echo "got $y"; exit 6`, true, "lost the lock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := server(t)
			term := openTerminal(t)
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, []byte(tt.script), 0o644); err != nil {
				t.Fatal(err)
			}
			env := append(environment("REDLOCK_NODES="+s.Addr()), "PS1=prompt> ", "TOOL="+os.Args[0])
			shell := term.start(env, bash, "--norc", "--noprofile", "-i")
			term.screen.await(t, "prompt> ")
			ttl := "30s"
			if tt.lost {
				ttl = "1200ms"
			}
			term.keys(asTool + `=1 "$TOOL" run --ttl ` + ttl + " job -- sh " + script + "\n")
			if strings.Contains(tt.script, "read x") {
				term.screen.await(t, "name?")
				term.keys("\n")
			}
			term.screen.await(t, "ready\r\n")
			term.keys(ctrlZ)
			term.screen.await(t, "Stopped")
			if tt.lost {
				await(t, "the lock ends", func() bool { return !s.Redis().Exists("job") })
			}
			term.keys("echo the shell is $((40+2)); fg\n")
			term.screen.await(t, "the shell is 42")
			switch {
			case tt.lost:
				term.screen.await(t, tt.want)
				term.keys("echo code is $?\n")
				term.screen.await(t, "code is 124")
			case tt.want != "":
				term.keys("more\n")
				term.screen.await(t, tt.want)
				term.keys("echo code is $?\n")
				term.screen.await(t, "code is 6")
			default:
				// It runs again, and ends by Ctrl-C.
				term.screen.await(t, `"$TOOL" run`)
				await(t, "the command goes on", func() bool { return running(t, script) })
				term.keys(ctrlC)
				term.keys("echo code is $?\n")
				term.screen.await(t, "code is 7")
			}
			term.keys("exit\n")
			shell.wait()
		})
	}
}

// Who waits for a lock can be stopped and continued like anything else.
func TestRunTerminalSuspendTheWait(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here, whose job control is needed")
	}
	s := server(t)
	lock, err := rival(t, s.Addr()).Lock(t.Context(), "job", redlock.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	term := openTerminal(t)
	env := append(environment("REDLOCK_NODES="+s.Addr()), "PS1=prompt> ", "TOOL="+os.Args[0])
	shell := term.start(env, bash, "--norc", "--noprofile", "-i")
	term.screen.await(t, "prompt> ")
	term.keys(asTool + `=1 "$TOOL" run job -- sh -c 'echo ran $((40+2))'` + "\n")
	term.screen.await(t, "waiting for the lock")
	term.keys(ctrlZ)
	term.screen.await(t, "Stopped")
	if err := lock.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	term.keys("fg\n")
	term.screen.await(t, "ran 42")
	term.keys("exit\n")
	shell.wait()
}

// running reports whether a process that has the argument runs and is not
// stopped.
func running(t *testing.T, argument string) bool {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && args[0] == "sh" && args[1] == argument {
			state, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
			_, after, _ := strings.Cut(string(state), ") ")
			return after != "" && after[0] != 'T'
		}
	}
	return false
}
