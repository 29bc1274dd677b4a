//go:build unix && !linux

package servers

import "syscall"

// diesWithParent does not: only Linux can. The servers of a test process that was
// killed are to be ended by hand.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
