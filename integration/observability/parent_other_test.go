//go:build !linux

package observability

import "syscall"

// diesWithParent is possible on Linux alone. Elsewhere, a Prometheus may remain if the test
// process is killed.
func diesWithParent() *syscall.SysProcAttr { return nil }
