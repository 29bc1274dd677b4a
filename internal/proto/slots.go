package proto

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// MostSlots is the largest number of slots of a lock that several may hold.
const MostSlots = 1024

// permits follows the key of a lock in the names of its slots and of their queue.
const permits = ":permits"

// PermitsKey returns the name of the permits of key. The slots and their queue are at
// names that begin with it, but nothing is at the name itself. It reports false where
// [QueueKey] does.
func PermitsKey(key string) (name string, ok bool) { return beside(key, permits) }

// SlotKey returns the key of slot i, from 1 to [MostSlots], of the permits with that name.
func SlotKey(name string, i int) string { return name + ":" + strconv.Itoa(i) }

// Slot returns the name of the permits and the number of the slot with that key, and
// reports whether it is the key of a slot. Otherwise the name is key itself. No lock has
// such a key, because it is in conflict.
func Slot(key string) (name string, i int, ok bool) {
	digits := len(key)
	for digits > 0 && '0' <= key[digits-1] && key[digits-1] <= '9' { // faster than TrimRight
		digits--
	}
	name, number := key[:digits], key[digits:]
	if number == "" || len(number) > 4 || number[0] == '0' { // true of most keys
		return key, 0, false
	}
	name, ok = strings.CutSuffix(name, ":")
	if !ok || !IsPermits(name) {
		return key, 0, false
	}
	if i, _ = strconv.Atoi(number); i > MostSlots {
		return key, 0, false
	}
	return name, i, true
}

// IsPermits reports whether name is what [PermitsKey] returns for some key.
func IsPermits(name string) bool {
	name, ok := strings.CutSuffix(name, permits)
	return ok && hasTag(name)
}

// hasTag reports whether key has a hash tag.
func hasTag(key string) bool {
	open := strings.IndexByte(key, '{')
	return open >= 0 && strings.IndexByte(key[open+1:], '}') >= 1
}

// Slots looks at the slots of a lock. A slot that is reserved for the ticket, which may be
// empty, counts as free.
type Slots struct {
	Keys   []string
	Ticket string
}

// Op returns the operation of s.
func (s *Slots) Op() backend.Op {
	var args []string
	if s.Ticket != "" {
		args = []string{s.Ticket}
	}
	return backend.Op{Kind: backend.OpEval, Script: lua.Slots, Keys: s.Keys, Args: args}
}

// ParseSlots returns the request that [Slots.Op] made.
func ParseSlots(keys, args []string) Slots { return Slots{keys, optional(args, 0)} }

// Free is how long a slot that is free is taken.
const Free time.Duration = -1

// ReadSlots reads the answer of a node about n slots: how long each is taken, [Forever] if
// it does not expire, or [Free].
func ReadSlots(r backend.Reply, n int) ([]time.Duration, error) {
	if len(r) != n {
		return nil, fmt.Errorf("the node answered with %d numbers for %d slots", len(r), n)
	}
	taken := make([]time.Duration, n)
	for i := range taken {
		switch left, err := r.Int(i); {
		case err != nil:
			return nil, err
		case left == -2:
			taken[i] = Free
		case left < 0:
			taken[i] = Forever
		default:
			taken[i] = duration(left)
		}
	}
	return taken, nil
}
