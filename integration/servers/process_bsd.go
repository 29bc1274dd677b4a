//go:build unix && !linux

package servers

import "syscall"

// diesWithParent has no effect, because only Linux supports it. After a test process was killed,
// its servers must be ended by hand.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
