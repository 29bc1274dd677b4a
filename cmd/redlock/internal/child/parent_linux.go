package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieWithParent has the command killed when this process dies: nobody would
// extend the lock any more, nor stop the command when it is lost. The guard does that too,
// but it may have been killed as well.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// isSubreaper reports whether the orphans among the descendants of this process become its
// children.
func isSubreaper() bool {
	var is int32
	return unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0, 0, 0) == nil && is != 0
}
