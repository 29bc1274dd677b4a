package proto

import (
	"fmt"
	"strings"

	"github.com/quorumlock/quorumlock/internal/text"
)

const (
	queueSuffix   = ":queue"
	counterSuffix = ":fence"
	readersSuffix = ":readers"
	tombstones    = ":gone:"
)

// QueueKey returns the key of the queue of the lock key. It is in the same slot of a
// Cluster, and begins with the same characters, so that access rules by prefix cover it.
// It reports false for the few keys that have no such name. Callers that wait for these
// locks poll. All slots of a lock have one queue, that of the name of the permits.
func QueueKey(key string) (string, bool) {
	name, _, _ := Slot(key)
	return beside(name, queueSuffix)
}

// CounterKey returns the key of the fencing counter of the lock key. It reports false
// where [QueueKey] does.
func CounterKey(key string) (string, bool) { return beside(key, counterSuffix) }

// ReadersKey returns the key of the set of readers of the lock key. It reports false where
// [QueueKey] does.
func ReadersKey(key string) (string, bool) { return beside(key, readersSuffix) }

// HasReaders reports whether the lock key has a set of readers: see [ReadersKey].
func HasReaders(key string) bool { return named(key) }

// ReadersOf returns the key of the lock whose set of readers has that key, and reports
// whether it is such a key. No lock has it, because it is in conflict.
func ReadersOf(name string) (key string, ok bool) {
	name, ok = strings.CutSuffix(name, readersSuffix)
	if !ok || !hasTag(name) {
		return "", false
	}
	return lockOf(name), true
}

// TombstoneKey returns the key which says that the lock key will not be granted to token.
// It reports false where [QueueKey] does.
func TombstoneKey(key, token string) (string, bool) { return beside(key, tombstones+token) }

// beside returns key with the suffix, in the same slot of a Cluster.
func beside(key, suffix string) (string, bool) {
	switch {
	case !named(key):
		return "", false
	case strings.IndexByte(key, '{') < 0:
		return key + "{" + key + "}" + suffix, true
	}
	return key + suffix, true
}

// named reports whether beside has names for key. If the key has a brace but no hash tag, an
// added one would not count.
func named(key string) bool {
	return strings.IndexByte(key, '{') < 0 && strings.IndexByte(key, '}') < 0 || hasTag(key)
}

// markerName follows a Locker's prefix in the name of the marker.
const markerName = "redlock:marker"

// MarkerKey returns the key of the marker of Lockers with that prefix.
func MarkerKey(prefix string) string { return prefix + markerName }

// inboxName follows a Locker's prefix in the name of an inbox.
const inboxName = "redlock:inbox:"

// Inbox returns the channel on which the Locker with that prefix and name is notified. A
// name is made like a token, and includes the owner's label if there is one.
func Inbox(prefix, name string) string { return prefix + inboxName + name }

// InboxName returns the name that [Inbox] was called with, or "" if channel is not an
// inbox.
func InboxName(channel string) string {
	_, name, _ := strings.Cut(channel, inboxName)
	return name
}

// Conflict returns why key must not be the key of a lock, or "". Either another lock
// stores something there or shares a name with it, or it may be a marker. Keys without a
// conflict never have a name in common, whatever the tokens of their locks.
func Conflict(key string) string {
	if strings.HasSuffix(key, markerName) { // of any Locker, whatever its prefix
		return fmt.Sprintf("it ends in %q, the name of the markers (WithQuarantine)", markerName)
	}
	open := strings.IndexByte(key, '{')
	if open < 0 {
		return ""
	}
	size := strings.IndexByte(key[open+1:], '}')
	if size < 1 {
		return "" // it has no hash tag, so it is no lock's queue
	}
	end := open + 1 + size + 1 // end of the hash tag
	if owner, doubled := undouble(key); doubled {
		return fmt.Sprintf("it has the same queue and fencing counter as the lock %s", text.Quote(owner))
	}
	owner, what := "", ""
	if i := strings.Index(key[end:], tombstones); i >= 0 {
		owner, what = key[:end+i], "tombstones"
	} else if strings.HasSuffix(key[end:], permits+queueSuffix) {
		owner, what = strings.TrimSuffix(key, permits+queueSuffix), "queue for permits"
	} else if strings.HasSuffix(key[end:], queueSuffix) {
		owner, what = strings.TrimSuffix(key, queueSuffix), "queue"
	} else if strings.HasSuffix(key[end:], counterSuffix) {
		owner, what = strings.TrimSuffix(key, counterSuffix), "fencing counter"
	} else if strings.HasSuffix(key[end:], readersSuffix) {
		owner, what = strings.TrimSuffix(key, readersSuffix), "readers"
	} else if strings.HasSuffix(key[end:], permits) { // its queue would be that of the permits
		owner, what = strings.TrimSuffix(key, permits), "permits"
	} else if name, _, ok := Slot(key); ok {
		owner, what = strings.TrimSuffix(name, permits), "permits"
	} else {
		return ""
	}
	return fmt.Sprintf("the lock %s keeps its %s there", text.Quote(lockOf(owner)), what)
}

// SlotConflict is [Conflict] for the key of a lock that exists already, which may be a
// slot.
func SlotConflict(key string) string {
	if name, _, ok := Slot(key); ok {
		key = lockOf(strings.TrimSuffix(name, permits))
	}
	return Conflict(key)
}

// lockOf returns the lock whose names begin with name.
func lockOf(name string) string {
	lock, _ := undouble(name)
	return lock
}

// undouble returns x for x{x}, and any other key unchanged.
func undouble(key string) (x string, doubled bool) {
	n := len(key)/2 - 1
	if n < 1 || key != key[:n]+"{"+key[:n]+"}" || strings.ContainsAny(key[:n], "{}") {
		return key, false
	}
	return key[:n], true
}
