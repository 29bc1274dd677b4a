package child

import (
	"os"
	"strconv"
)

// DescendsFrom reports whether the process pid is alive and has started this one, or one
// that did. A process that has ended is nobody's ancestor, because its children get
// another parent.
func DescendsFrom(pid int) bool {
	for p := os.Getppid(); p > 0; {
		if p == pid {
			return true
		}
		s, ok := readStat("/proc/" + strconv.Itoa(p) + "/stat")
		if !ok || s.parent == p {
			return false
		}
		p = s.parent
	}
	return false
}
