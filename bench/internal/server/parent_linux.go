package server

import "syscall"

// diesWithParent makes a process end with this one, even if this one is killed. The process is in
// its own group, so it does not get the Ctrl-C for this one, which ends it in order.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
