package child

import "syscall"

// dieWithParent has the command killed when this process dies: nobody would
// extend the lock any more, nor stop the command when it is lost.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
