package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
)

// held is the locks that are held around a command, by the runs that it is inside of,
// the outermost first. It is handed on in an environment variable.
type held []holding

// A holding is a lock that a run holds.
type holding struct {
	pid  int    // of the run
	lock string // a hash of the key and the servers
}

// lockHash returns what tells a lock from others: its key and its servers, in any order.
func lockHash(key string, servers []string) string {
	h := sha256.New()
	for _, s := range slices.Sorted(slices.Values(servers)) {
		h.Write([]byte(s + "\x00"))
	}
	h.Write([]byte("\x00" + key))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// parseHeld returns what the variable says. What it cannot parse it leaves out.
func parseHeld(value string) held {
	var h held
	for _, field := range strings.Fields(value) {
		pid, lock, _ := strings.Cut(field, ":")
		if n, err := strconv.Atoi(pid); err == nil && n > 0 && lock != "" {
			h = append(h, holding{n, lock})
		}
	}
	return h
}

// String returns the value of the variable.
func (h held) String() string {
	var b strings.Builder
	for i, one := range h {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(one.pid) + ":" + one.lock)
	}
	return b.String()
}

// with returns h and a lock that this process holds.
func (h held) with(lock string) held {
	return append(h[:len(h):len(h)], holding{os.Getpid(), lock})
}

// around returns the process id of a run that holds the lock, that runs still, and whose
// command started this process. It is 0 if there is none. Certain says that the command
// waits for this process: it is this process, or this process is not in the background
// of a shell.
func (h held) around(lock string) (pid int, certain bool) {
	for _, one := range h {
		if one.lock == lock && child.DescendsFrom(one.pid) {
			return one.pid, one.pid == os.Getppid() || !child.InBackground()
		}
	}
	return 0, false
}
