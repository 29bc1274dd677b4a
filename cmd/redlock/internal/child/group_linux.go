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

// groupsWith returns the process groups of processes with the entry in their environment.
func groupsWith(entry string) []int {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	var groups []int
	for _, file := range environments {
		env, err := os.ReadFile(file) // it fails for processes of others
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), entry) {
			continue
		}
		if s, ok := readStat(filepath.Join(filepath.Dir(file), "stat")); ok && !slices.Contains(groups, s.group) {
			groups = append(groups, s.group)
		}
	}
	return groups
}
