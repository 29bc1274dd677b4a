package observability

import "syscall"

// diesWithParent makes a process end with this one, even if this one is killed.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
