//go:build unix

package child

import (
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal of this process. A nil one has none.
type terminal struct{ fd int }

func openTerminal() *terminal {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return &terminal{fd}
}

func (t *terminal) close() {
	if t != nil {
		_ = unix.Close(t.fd)
	}
}

// ours reports whether our job is in the foreground.
func (t *terminal) ours() bool {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// noShell reports whether nobody could continue our job if it were stopped: it
// is what the session began with, and no job of a shell.
func (t *terminal) noShell() bool {
	session, err := unix.Getsid(0)
	return err != nil || session == unix.Getpgrp()
}

// give puts a process group in the foreground.
func (t *terminal) give(group int) {
	// A process that does this from the background gets SIGTTOU, which stops it unless it
	// ignores the signal.
	signal.Ignore(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, group)
	signal.Reset(syscall.SIGTTOU)
}

// take puts our job in the foreground.
func (t *terminal) take() { t.give(unix.Getpgrp()) }
