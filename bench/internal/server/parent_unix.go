//go:build unix && !linux

package server

import "syscall"

// diesWithParent does not: only Linux can. The servers of a benchmark that was
// killed are to be ended by hand.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
