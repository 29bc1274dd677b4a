//go:build unix && !linux

package child

// lives reports whether a process of the group runs: as far as can be told here.
func lives(int) bool { return true }
