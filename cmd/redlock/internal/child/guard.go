//go:build unix

package child

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// guardVariable makes this program a guard.
const guardVariable = "REDLOCK_BECOME_GUARD"

// markWord is before the mark of the command on a line for a guard.
const markWord = "mark "

// sessionWord is before the id of the session of the command on a line for a guard.
const sessionWord = "session "

// anySession is the id of no session.
const anySession = -1

// leaveWord tells a guard that the command has ended, and what is left of it may stay.
const leaveWord = "leave"

// A guard is a second process of this program. It outlives this process, if this one is
// killed, and then kills the process group of the command, and on Linux the groups that were made
// from it (see [Process.Kill]). It notices by the end of a
// pipe whose only writer is this process. It is in a session of its own, so that what
// kills this process by its group or terminal does not kill the guard.
type guard struct{ pipe *os.File }

// startGuard starts a guard. It has no group to kill yet. The mark is a line in the
// environment of the command and of no other: by that the guard finds the command if this
// process is killed after it has started the command and before it could say so.
func startGuard(r *Reaper, mark string) (*guard, error) {
	path := "/proc/self/exe" // also when the file was replaced or removed
	if _, err := os.Stat(path); err != nil {
		if path, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	in, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	cmd := exec.Command(path)
	cmd.Args = []string{"redlock-guard"}
	cmd.Env = []string{guardVariable + "=1"}
	cmd.Dir = "/"
	cmd.Stdin = in
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	wait, err := r.start(cmd)
	if err != nil {
		_ = pipe.Close()
		return nil, err
	}
	go func() { // ends with the guard, which ends when the pipe is closed
		for {
			if ws, err := wait(); err != nil || !ws.Stopped() {
				break
			}
		}
		_ = cmd.Process.Release()
	}()
	if session, err := unix.Getsid(0); err == nil {
		_, _ = fmt.Fprintln(pipe, sessionWord+strconv.Itoa(session))
	}
	_, err = fmt.Fprintln(pipe, markWord+mark)
	return &guard{pipe}, err
}

// watch tells the guard which process group to kill.
func (g *guard) watch(group int) error {
	_, err := fmt.Fprintln(g.pipe, group)
	return err
}

// leave ends the guard, which kills nothing.
func (g *guard) leave() {
	_, _ = fmt.Fprintln(g.pipe, leaveWord)
	_ = g.pipe.Close()
}

// BecomeGuard is the whole life of a process that [Start] has started as a guard. In any
// other process it returns at once. A program that uses Start must call it first of all.
func BecomeGuard() {
	if os.Getenv(guardVariable) == "" {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP)
	group, mark, session := 0, "", anySession
	for lines := bufio.NewReader(os.Stdin); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		line = strings.TrimSuffix(line, "\n")
		if line == leaveWord {
			os.Exit(0)
		}
		if rest, ok := strings.CutPrefix(line, markWord); ok {
			mark = rest
		} else if rest, ok := strings.CutPrefix(line, sessionWord); ok {
			session, _ = strconv.Atoi(rest)
		} else {
			group, _ = strconv.Atoi(line)
		}
	}
	if group > 1 {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	} else {
		session = anySession // the command has just begun, and nothing has left it on purpose
	}
	for _, g := range groupsWith(mark, session) {
		if g > 1 {
			_ = syscall.Kill(-g, syscall.SIGKILL)
		}
	}
	os.Exit(0)
}
