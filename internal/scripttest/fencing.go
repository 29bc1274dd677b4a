package scripttest

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

func (g *generator) fencedLock() string { return g.prefix + "fenced" }

// marker returns the server's marker. It changes now and then, because a server keeps the
// state that Mark gave to a marker.
func (g *generator) marker() string { return g.markerAt(g.made) }

func (g *generator) markerAt(made int) string {
	return g.prefix + "marker " + strconv.Itoa(made/counterLife)
}

// tellsRun reports whether a node supports the quarantine.
func (g *generator) tellsRun(ctx context.Context, n backend.Node) bool {
	return script(lua.Mark, []string{g.markerAt(-counterLife)}).Do(ctx, n).Err == nil
}

// counterOf returns the lock's counter. It changes now and then, because a counter that
// is invalid or too far ahead stays so.
func (g *generator) counterOf(lock string) string { return counterAt(lock, g.made) }

const counterLife = 100 // operations

func counterAt(lock string, made int) string {
	return lock + "{" + lock + "}:fence " + strconv.Itoa(made/counterLife)
}

// hint returns a hint. Either it is near the server's time, or its comparison with that
// time does not depend on the moment at which a server is asked.
func (g *generator) hint() string {
	now := strconv.FormatInt(time.Now().UnixMicro(), 10)
	return pick(g, "0", "1", g.micros(-time.Hour), g.micros(time.Hour), "9999999999999999", now, now, now, now, now, now)
}

// value returns a value for a counter. It is lower than the next vote, or so far ahead
// that votes count up from it, or too far ahead.
func (g *generator) value() string {
	ahead := time.Duration(g.rng.IntN(8)) * time.Microsecond
	return pick(g, "1", "41", g.micros(-time.Hour), g.micros(time.Hour), g.micros(time.Hour+ahead), g.micros(time.Hour+ahead),
		g.micros(time.Hour+ahead), g.micros(20*time.Hour), g.micros(30*time.Hour), "9007199254740991", "9999999999999999")
}

// badNumber returns a text that is not a number, or a number that scripts cannot use.
func (g *generator) badNumber() string {
	return pick(g, append(likeCounters(time.Now().UnixMicro()),
		"soon", "", "-1", "1.5", "0x10", " 1", "99999999999999999999", "12345678901234567")...)
}

// fencing returns a script for a lock with a fencing token, usually with the token of op.
func (g *generator) fencing(op backend.Op) backend.Op {
	ttl := strconv.FormatInt(adapterkit.Milliseconds(op.TTL), 10)
	keep := pick(g, "0", "120000", "240000", "0120000")
	ticket := g.ticket()
	if g.rng.IntN(3) > 0 { // usually a lock without waiters, so that it changes hands
		op.Key, op.Token, ticket = g.fencedLock(), pick(g, "x", "y\r\n"), ""
	}
	queue, counter := g.queueOf(op.Key), g.counterOf(op.Key)
	if g.rng.IntN(12) == 0 {
		counter = g.odd()
	}
	tomb := op.Key + "{" + op.Key + "}:gone:" + op.Token
	all := []string{op.Key, counter, tomb, queue, g.marker()}
	alone := []string{op.Key, counter, tomb, op.Key, g.marker()}
	vote := func(ttl, hint, keep string) backend.Op { // of a caller that does not wait
		keys := pick(g, alone[:3], alone[:3], alone[:4], all[:4])
		rest := pick(g, nil, nil, []string{""}, []string{"", ""}, []string{"", g.badNumber()})
		return script(lua.Vote, keys, append([]string{op.Token, ttl, hint, keep}, rest...)...)
	}
	length := pick(g, "3600000", "3600000", "3600000", "03600000", "0", g.badNumber())
	// Something other than a valid marker. Two nodes never agree on the value of a
	// marker.
	planted := pick(g, "", "x", "0123456789abcdef 0", "0123456789abcdef 1")
	made := pick(g,
		vote(ttl, g.hint(), keep),
		vote(ttl, g.hint(), keep),
		script(lua.Vote, all[:4], op.Token, ttl, g.hint(), keep, ticket, g.waited()),
		script(lua.Vote, all[:4], op.Token, ttl, g.hint(), keep, ticket, g.waited()),
		script(lua.Vote, all[:3], op.Token, ttl, g.hint(), keep, ticket, g.waited()),
		script(lua.Vote, pick(g, all[:3], all[:4]), op.Token, ttl, g.hint(), keep, ticket),
		vote(pick(g, "0", g.badNumber()), g.hint(), keep),
		script(lua.Vote, all[:4], op.Token, ttl, g.hint(), keep, ticket, g.badNumber()),
		vote("0"+ttl, g.hint(), keep),
		vote(ttl, g.badNumber(), keep),
		vote(ttl, g.hint(), g.badNumber()),
		script(lua.Vote, alone, op.Token, ttl, g.hint(), keep, "", "", length),
		script(lua.Vote, all, op.Token, ttl, g.hint(), keep, ticket, g.waited(), length),
		script(lua.Vote, pick(g, all, alone), append([]string{op.Token, ttl, g.hint(), keep}, pick(g, nil, []string{"", ""})...)...),
		script(lua.Acquire, []string{op.Key, queue, all[4]}, op.Token, ttl, ticket, g.waited(), length),
		script(lua.Acquire, []string{op.Key, op.Key, all[4]}, op.Token, ttl, "", "", length),
		script(lua.Raise, []string{op.Key, counter, all[4]}, op.Token, g.value(), keep, length),
		script(lua.Mark, all[4:]),
		script(lua.Mark, all[4:]),
		backend.Op{Kind: backend.OpSetNX, Key: all[4], Token: planted, TTL: op.TTL},
		backend.Op{Kind: backend.OpEvalDelete, Key: all[4], Token: planted},
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, pick(g, "0", g.badNumber()), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), g.badNumber()),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, g.value(), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, pick(g, "1", g.value()), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, pick(g, "1", g.value()), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, "0"+ttl, g.value(), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, pick(g, "0", g.badNumber()), g.value(), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, pick(g, "0", g.badNumber()), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, g.value(), g.badNumber()),
		script(lua.Release, []string{op.Key, queue, tomb}, op.Token, pick(g, "", ticket), "", ttl),
		script(lua.Release, []string{op.Key, queue, tomb}, op.Token, "", "", pick(g, "0", g.badNumber())),
		script(lua.Rollback, []string{op.Key, queue, tomb}, op.Token, "", "", pick(g, "0", "1"), ttl),
		script(lua.Rollback, []string{op.Key, queue, tomb}, op.Token, ticket, g.waited(), pick(g, "0", "1"), "0"+ttl),
		script(lua.Rollback, []string{op.Key, queue, tomb}, op.Token, "", "", "0", pick(g, "0", g.badNumber())),
		script(lua.Release, []string{op.Key, queue}, op.Token),
		script(lua.Release, []string{op.Key, queue}, op.Token),
		script(lua.Delete, []string{tomb}, "1"),
		script(lua.Delete, []string{tomb}, "1"),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{tomb}))
	if !g.runs && slices.Contains(made.Keys, g.marker()) {
		return g.fencing(op)
	}
	return made
}
