package child

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
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
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it is gone
		}
		// "pid (name) state ppid pgrp …": the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 3 || string(fields[2]) != strconv.Itoa(group) {
			continue
		}
		if state := fields[0][0]; state != 'Z' && state != 'X' {
			return true
		}
	}
	return false
}
