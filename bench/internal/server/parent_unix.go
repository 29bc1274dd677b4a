//go:build unix && !linux

package server

import "syscall"

// diesWithParent has no effect, because only Linux supports it. After a benchmark was killed, its
// servers must be ended by hand.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
