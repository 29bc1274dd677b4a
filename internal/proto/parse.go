package proto

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Parsing is for nodes that imitate the scripts. It rejects what the scripts reject, with
// the same error texts.
var (
	errArguments  = errors.New("ERR Wrong number of args calling Redis command from script")
	errAcquire    = errors.New("ERR a number of the acquire is not an integer or out of range")
	errWaited     = errors.New("ERR the time waited is not an integer or out of range")
	errVote       = errors.New("ERR a number of the vote is not an integer or out of range")
	errRaise      = errors.New("ERR a number of the raise is not an integer or out of range")
	errProlong    = errors.New("ERR a number of the extension is not an integer or out of range")
	errTombstone  = errors.New("ERR the life of the tombstone is not an integer or out of range")
	errQuarantine = errors.New("ERR the length of the quarantine is not an integer or out of range")
)

// ParseAcquire returns the request that [Acquire.Op] made without a vote.
func ParseAcquire(keys, args []string) (Acquire, error) {
	if len(keys) < 1 || len(args) < 2 {
		return Acquire{}, errArguments
	}
	ttl, ok := parseMillis(args[1])
	if !ok || ttl == 0 {
		return Acquire{}, errAcquire
	}
	a := Acquire{Lock: keys[0], Token: args[0], TTL: ttl}
	err := a.parse(keys[1:], args[2:], errAcquire)
	return a, err
}

// ParseVote returns the request that [Acquire.Op] made with a vote.
func ParseVote(keys, args []string) (Acquire, error) {
	if len(keys) < 3 || len(args) < 4 {
		return Acquire{}, errArguments
	}
	ttl, ok1 := parseMillis(args[1])
	hint, ok2 := ParseNumber(args[2])
	keep, ok3 := parseMillis(args[3])
	if !ok1 || ttl == 0 || !ok2 || !ok3 {
		return Acquire{}, errVote
	}
	a := Acquire{Lock: keys[0], Token: args[0], TTL: ttl, Vote: Vote{Counter: keys[1], Tombstone: keys[2], Hint: hint, Keep: keep}}
	err := a.parse(keys[3:], args[4:], errVote)
	return a, err
}

// parse reads the arguments at the end of both forms of an acquire.
func (a *Acquire) parse(keys, args []string, bad error) (err error) {
	if len(keys) == 0 { // the time waited has no use without a queue
		a.Wait.Ticket = optional(args, 0)
		return nil
	}
	if a.Wait, err = parseWait(keys[0], args, bad); err != nil {
		return err
	}
	a.Check, err = parseCheck(keys, args, 1, 2)
	return err
}

// parseWait returns the wait of a request. The ticket and the time waited are the first
// of args. Without a ticket, queue may be any key.
func parseWait(queue string, args []string, bad error) (Wait, error) {
	ticket := optional(args, 0)
	if ticket == "" {
		return Wait{}, nil
	}
	waited, ok := parseMillis(optional(args, 1))
	if !ok {
		return Wait{}, bad
	}
	return Wait{queue, ticket, waited}, nil
}

// parseCheck returns the check of a request. The marker is keys[k], and the quarantine is
// args[a].
func parseCheck(keys, args []string, k, a int) (Check, error) {
	if len(keys) <= k {
		return Check{}, nil
	}
	length, ok := parseMillis(optional(args, a))
	if !ok || length == 0 {
		return Check{}, errQuarantine
	}
	return Check{keys[k], length}, nil
}

// ParseRelease returns the request that [Release.Op] made.
func ParseRelease(keys, args []string) (Release, error) {
	if len(keys) < 2 || len(args) < 1 {
		return Release{}, errArguments
	}
	tombstone, err := parseTombstone(keys, args, 3)
	return Release{
		Lock: keys[0], Queue: keys[1], Token: args[0],
		Ticket: optional(args, 1), Announce: optional(args, 2), Tombstone: tombstone,
	}, err
}

// ParseRollback returns the request that [Rollback.Op] made.
func ParseRollback(keys, args []string) (Rollback, error) {
	if len(keys) < 2 || len(args) < 1 {
		return Rollback{}, errArguments
	}
	wait, err := parseWait(keys[1], args[1:], errWaited)
	if err != nil {
		return Rollback{}, err
	}
	wait.Queue = keys[1]
	tombstone, err := parseTombstone(keys, args, 4)
	return Rollback{Lock: keys[0], Token: args[0], Wait: wait, Notify: optional(args, 3) == "1", Tombstone: tombstone}, err
}

// parseTombstone returns the tombstone of a request. Its life is args[i].
func parseTombstone(keys, args []string, i int) (Tombstone, error) {
	if len(keys) < 3 {
		return Tombstone{}, nil
	}
	life, ok := parseMillis(optional(args, i))
	if !ok || life == 0 {
		return Tombstone{}, errTombstone
	}
	return Tombstone{keys[2], life}, nil
}

// ParseProlong returns the request that [Prolong.Op] made.
func ParseProlong(keys, args []string) (Prolong, error) {
	if len(keys) < 2 || len(args) < 4 {
		return Prolong{}, errArguments
	}
	ttl, ok1 := parseMillis(args[1])
	value, ok2 := ParseNumber(args[2])
	keep, ok3 := parseMillis(args[3])
	if !ok1 || ttl == 0 || !ok2 || value == 0 || !ok3 {
		return Prolong{}, errProlong
	}
	return Prolong{Lock: keys[0], Counter: keys[1], Token: args[0], TTL: ttl, Value: value, Keep: keep}, nil
}

// ParseRaise returns the request that [Raise.Op] made.
func ParseRaise(keys, args []string) (Raise, error) {
	if len(keys) < 2 || len(args) < 3 {
		return Raise{}, errArguments
	}
	value, ok1 := ParseNumber(args[1])
	keep, ok2 := parseMillis(args[2])
	if !ok1 || value == 0 || !ok2 {
		return Raise{}, errRaise
	}
	check, err := parseCheck(keys, args, 2, 3)
	return Raise{Lock: keys[0], Counter: keys[1], Token: args[0], Value: value, Keep: keep, Check: check}, err
}

// ParseMark returns the request that [Mark.Op] made.
func ParseMark(keys []string) (Mark, error) {
	if len(keys) < 1 {
		return Mark{}, errArguments
	}
	return Mark{keys[0]}, nil
}

// ParseEcho returns the request that [Echo.Op] made.
func ParseEcho(keys, args []string) (Echo, error) {
	if len(args) < 2 {
		return Echo{}, errArguments
	}
	return Echo{optional(keys, 0), args[0], args[1]}, nil
}

// optional returns s[i], or "" if s is shorter.
func optional(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return ""
}

// parseMillis returns text as a number of milliseconds, and reports whether it is a
// number of at most 15 digits.
func parseMillis(text string) (time.Duration, bool) {
	if len(text) > 15 {
		return 0, false
	}
	n, ok := ParseNumber(text)
	return duration(n), ok
}

// duration returns ms milliseconds, at most [Forever] and at least -Forever. A key of another
// program may live for longer than a Duration can be, for example because it expires at a
// time in milliseconds that was given in seconds.
func duration(ms int64) time.Duration {
	const most = int64(Forever / time.Millisecond)
	return time.Duration(max(-most, min(ms, most))) * time.Millisecond
}

// ParseNumber returns text as the number in a counter, and reports whether it is one: at
// most 16 digits.
func ParseNumber(text string) (int64, bool) {
	if len(text) > 16 || text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
