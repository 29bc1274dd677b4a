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

// held is the list of locks held by the runs that surround a command, the outermost
// first. An environment variable passes it on.
type held []holding

// A holding is a lock held by a run.
type holding struct {
	pid  int    // process id of the run
	lock string // a hash of the key and the servers
}

// lockHash returns a hash that identifies a lock: its key and its servers, in any order.
func lockHash(key string, servers []string) string {
	h := sha256.New()
	for _, s := range slices.Sorted(slices.Values(servers)) {
		h.Write([]byte(s + "\x00"))
	}
	h.Write([]byte("\x00" + key))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// parseHeld parses the variable. It skips what it cannot parse.
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

// with returns h plus locks held by this process.
func (h held) with(locks ...string) held {
	h = h[:len(h):len(h)]
	for _, lock := range locks {
		h = append(h, holding{os.Getpid(), lock})
	}
	return h
}

// around returns the process id of a run that holds the lock, still exists, and whose
// command started this process; 0 if there is none. certain says that the command waits
// for this process: either this process is the command, or it is not in the background of
// a shell.
func (h held) around(lock string) (pid int, certain bool) {
	for _, one := range h {
		if one.surrounds(lock) {
			return one.pid, one.certain()
		}
	}
	return 0, false
}

// count returns how many such runs there are, and how many of their commands certainly
// wait for this process.
func (h held) count(lock string) (n, certain int) {
	for _, one := range h {
		if !one.surrounds(lock) {
			continue
		}
		n++
		if one.certain() {
			certain++
		}
	}
	return n, certain
}

// surrounds reports whether this is the lock, and its run is around this process.
func (h holding) surrounds(lock string) bool { return h.lock == lock && child.DescendsFrom(h.pid) }

// certain reports whether the command of the run, which is around this process, certainly
// waits for it.
func (h holding) certain() bool { return h.pid == os.Getppid() || !child.InBackground() }
