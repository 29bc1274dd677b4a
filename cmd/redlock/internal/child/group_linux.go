package child

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// lives reports whether a process of the group runs. Those that have ended and that
// nobody waits for are in the group still, for as long as the process lives that
// should: for good where process 1 does not, as in many containers.
func lives(group int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return true // without /proc nobody can tell
	}
	for _, file := range stats {
		if s, ok := readStat(file); ok && s.group == group && !s.dead() {
			return true
		}
	}
	return false
}

// groupsWith returns the process groups of processes with the entry in their environment that run
// in the session, or in any session if that is anySession.
func groupsWith(entry string, session int) []int {
	if entry == "" { // which each environment seems to have
		return nil
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var groups []int
	for _, file := range stats {
		s, ok := readStat(file)
		if !ok || s.dead() || session != anySession && s.session != session || slices.Contains(groups, s.group) {
			continue
		}
		env, err := os.ReadFile(filepath.Join(filepath.Dir(file), "environ")) // it fails for processes of others
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), entry) {
			groups = append(groups, s.group)
		}
	}
	return groups
}
