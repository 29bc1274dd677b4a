package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// resize gives the terminal a size.
func (term *terminal) resize(columns, rows uint16) {
	term.t.Helper()
	conn, err := term.master.SyscallConn()
	if err != nil {
		term.t.Fatal(err)
	}
	var failure error
	if err := conn.Control(func(fd uintptr) {
		failure = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	}); err != nil || failure != nil {
		term.t.Fatal(err, failure)
	}
}

// lastScreen returns what a terminal shows that was cleared or drawn over.
func lastScreen(out string) []string {
	drawn := strings.Split(out, goHome)
	screen := strings.ReplaceAll(drawn[len(drawn)-1], endLine, "")
	return strings.Split(strings.TrimSuffix(screen, endScreen), "\r\n")
}

// On a terminal, --watch draws in place and fits its size, also after a change.
func TestStatusWatchDraws(t *testing.T) {
	s := startSeveral(t, 3)
	_, print := s.hold("job")
	term := openTerminal(t)
	term.resize(60, 8)
	watch := term.start(environment("REDLOCK_NODES="+s.nodes, "TERM=xterm", "NO_COLOR=1"), os.Args[0], "status", "--watch", "--interval", "0.1s", "job")
	watch.stdout.await(t, print)
	watch.stdout.await(t, "… and ")
	for _, line := range lastScreen(strings.TrimSuffix(watch.stdout.String(), goHome)) {
		if width(line) > 60 {
			t.Errorf("a line of %d columns: %q", width(line), line)
		}
	}
	term.resize(60, 24)
	watch.stdout.await(t, s.addrs[2])
	for _, c := range s.clients {
		if err := c.Del(t.Context(), "job").Err(); err != nil {
			t.Fatal(err)
		}
	}
	watch.stdout.await(t, `The lock "job" is free.`)
	term.keys(ctrlC)
	watch.want(statusFree)
	out := watch.stdout.String()
	if strings.Count(out, clearScreen) != 1 || regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(out) {
		t.Errorf("printed was %q", out)
	}
}

// A terminal that cannot draw gets one view below the other.
func TestStatusWatchOnADumbTerminal(t *testing.T) {
	s := startSeveral(t, 1)
	term := openTerminal(t)
	term.resize(60, 24)
	watch := term.start(environment("REDLOCK_NODES="+s.nodes, "TERM=dumb"), os.Args[0], "status", "--watch", "--interval", "0.1s", "job")
	watch.stdout.await(t, `"job" is free.`)
	s.set(0, "job", "one")
	watch.stdout.await(t, "7692c3ad")
	term.keys(ctrlC)
	watch.want(statusHeld)
	if strings.Contains(watch.stdout.String(), "\x1b") {
		t.Errorf("printed was %q", watch.stdout)
	}
}

// On a terminal, break shows the holder and what breaking means, and asks.
func TestBreakAsks(t *testing.T) {
	s := startSeveral(t, 3)
	_, print := s.hold("job")
	ask := func(code int, answer, says string) {
		t.Helper()
		term := openTerminal(t)
		term.resize(60, 24)
		tool := term.start(environment("REDLOCK_NODES="+s.nodes, "TERM=dumb"), os.Args[0], "break", "job")
		tool.stdout.await(t, "type the fingerprint of the holder: ")
		out := tool.stdout.String()
		for _, want := range []string{"rival #" + print + " on 3 of 3 servers", "only fencing tokens protect", "make sure that the holder is gone"} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("%q is missing:\n%s", want, out)
			}
		}
		for line := range strings.Lines(out) {
			if line = strings.TrimRight(line, "\r\n"); width(line) > 60 {
				t.Errorf("a line of %d columns: %q", width(line), line)
			}
		}
		term.keys(answer)
		tool.want(code)
		term.screen.await(t, says)
	}
	const declined = `redlock: the lock "job" is not released: the answer was not the fingerprint of a holder`
	ask(exitFailed, "yes\n", declined)
	ask(exitFailed, "\n", declined)
	ask(exitFailed, "\x04", declined) // the end of the input
	ask(exitFailed, strings.Repeat("0", 8)+"\n", declined)
	if s.have("job") != 3 {
		t.Fatal("it was deleted")
	}
	ask(exitOK, "#"+print+"\n", fmt.Sprintf(`redlock: released the lock "job" of rival #%s on 3 of 3 servers`, print))
	if s.have("job") != 0 {
		t.Fatal("it was not deleted")
	}

	term := openTerminal(t)
	tool := term.start(environment("REDLOCK_NODES="+s.nodes), os.Args[0], "break", "job")
	tool.want(breakNotHeld)
	term.screen.await(t, `redlock: the lock "job" is not released: no holder has it`)
}
