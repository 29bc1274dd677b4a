package server

import "syscall"

// diesWithParent makes a process end with this one, even if this one is killed. In
// a group of its own it does not get the Ctrl-C that was meant for this one, which
// ends it in order.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
