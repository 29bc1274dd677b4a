package child

import (
	"bytes"
	"os"
	"strconv"
)

// A stat is what the file /proc/PID/stat says of a process.
type stat struct {
	state                  byte
	parent, group, session int
}

// readStat reads the file of a process. It reports false if the process is gone.
func readStat(file string) (stat, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return stat{}, false
	}
	// "pid (name) state ppid pgrp session …": the name may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 4 {
		return stat{}, false
	}
	s := stat{state: fields[0][0]}
	var err1, err2, err3 error
	s.parent, err1 = strconv.Atoi(string(fields[1]))
	s.group, err2 = strconv.Atoi(string(fields[2]))
	s.session, err3 = strconv.Atoi(string(fields[3]))
	return s, err1 == nil && err2 == nil && err3 == nil
}

// dead reports whether the process has ended, and nobody has waited for it yet.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }
