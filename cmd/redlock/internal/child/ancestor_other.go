//go:build !linux

package child

import "os"

// DescendsFrom reports whether the process pid has started this one. Others that are
// further up cannot be told on this system.
func DescendsFrom(pid int) bool { return os.Getppid() == pid }
