package scripttest_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// isNumber reports whether a text is a number that a fencing script accepts.
func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil && len(text) <= 16
}

// counter is the key of the script's counter.
func (r run) counter() string { return r.keys[1] }

// count returns the value of the counter.
func (r run) count() int64 {
	c, _ := strconv.ParseInt(r.c.value(r.counter()), 10, 64)
	return c
}

// found reports whether a key exists.
func (r run) found(key string) bool {
	e, _ := r.c.server.Inspect(r.ctx, key)
	return e.Found
}

// isDead reports whether a vote's reply says that the token has a tombstone.
func isDead(vote backend.Reply) bool { return len(vote) == 6 && vote[3] == int64(-2) }

// isList reports whether a key holds what Push stores.
func (r run) isList(key string) bool {
	e, _ := r.c.server.Inspect(r.ctx, key)
	return e.Found && e.Value == "" && e.TTL == backend.NoExpiry
}

// mine reports whether the lock holds the token.
func (r run) mine() bool { return r.found(r.keys[0]) && r.c.value(r.keys[0]) == r.args[0] }

// clears deletes a key.
func (r run) clears(key string) {
	r.c.server.Set(key, "x", time.Minute)
	r.c.server.EvalDelete(r.ctx, key, "x")
}

// moves sets an existing counter to n, and keeps its time to live.
func (r run) moves(n int64) {
	if ttl := r.c.ttl(r.counter()); ttl != 0 { // it is there
		r.c.server.Set(r.counter(), strconv.FormatInt(n, 10), ttl)
	}
}

// lives changes the time to live of a key.
func (r run) lives(key string, ttl time.Duration) {
	if r.found(key) {
		r.c.server.Set(key, r.c.value(key), ttl)
	}
}

// fails returns a node on which a script does something else instead of failing with FENCE or
// QUARANTINE.
func fails(instead func(r run, err error) (backend.Reply, error), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil && !strings.HasPrefix(err.Error(), "ERR") {
			return instead(r, err)
		}
		return reply, err
	}, of...)
}

// lenient returns a node on which a script replaces invalid numbers by number. From and to are
// the first and the last such argument.
func lenient(number string, from, to int, of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		r.args = slices.Clone(r.args)
		for i := from; i <= to && i < len(r.args); i++ {
			if !isNumber(r.args[i]) || r.args[i] == "0" && number != "0" || len(r.args[i]) == 16 {
				r.args[i] = number
			}
		}
		return r.do()
	}, of...)
}

// votesFor returns a node whose votes have another value, computed from the old counter, the hint
// and the time.
func votesFor(number func(before, hint, now int64) int64) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		before := r.count()
		reply, err := r.do()
		if reply = r.long(reply); err == nil && reply[0] == int64(1) && reply[1] != before {
			hint, _ := strconv.ParseInt(r.args[2], 10, 64)
			n := number(before, hint, reply[2].(int64))
			r.moves(n)
			reply[1] = n
		}
		return r.short(reply), err
	}, lua.Vote)
}

// long returns the long form of a reply. A vote for the hint has a short one.
func (r run) long(reply backend.Reply) backend.Reply {
	if r.script == lua.Vote && len(reply) == 1 {
		hint, _ := strconv.ParseInt(r.args[2], 10, 64)
		return backend.Reply{int64(1), hint, reply[0]}
	}
	return slices.Clone(reply)
}

// short reverses long.
func (r run) short(reply backend.Reply) backend.Reply {
	if r.script == lua.Vote && len(reply) == 3 {
		if hint, _ := strconv.ParseInt(r.args[2], 10, 64); reply[1] == hint {
			return reply[2:]
		}
	}
	return reply
}

// answers returns a node on which the replies of a script are changed.
func answers(change func(r run, reply backend.Reply), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil {
			reply = r.long(reply)
			change(r, reply)
			reply = r.short(reply)
		}
		return reply, err
	}, of...)
}

// first returns a node that does something before a script.
func first(before func(r *run), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		r.args = slices.Clone(r.args)
		before(&r)
		return r.do()
	}, of...)
}

const slackBy = 250_000

// brokenFences are nodes whose fencing scripts are broken.
var brokenFences = []brokenNode{
	// Vote: the value.
	{"vote ignores the hint", votesFor(func(before, _, now int64) int64 { return max(before+1, now-slackBy) }), []string{"Eval/vote goes up to the hint"}},
	{"vote follows any hint", votesFor(func(before, hint, now int64) int64 { return max(before+1, hint, now-slackBy) }), []string{"Eval/vote goes up to the hint"}},
	{"vote begins at 1", votesFor(func(before, hint, now int64) int64 { return max(before+1, min(hint, now+slackBy)) }), []string{
		"Eval/vote", "Eval/vote goes up to the hint", "Eval/vote again after a lost counter"}},
	{"vote is for the time", votesFor(func(before, _, now int64) int64 { return max(before+1, now) }), []string{"Eval/vote", "Eval/vote goes up to the hint"}},
	{"vote stays where the counter is", votesFor(func(before, hint, now int64) int64 { return max(before, min(max(hint, now-slackBy), now+slackBy)) }), []string{
		"Eval/vote goes up to the hint", "Eval/vote is unique"}},
	{"vote falls with the clock", votesFor(func(_, hint, now int64) int64 { return min(max(hint, now-slackBy), now+slackBy) }), []string{
		"Eval/vote goes up to the hint", "Eval/vote is unique"}},
	{"vote is rounded", votesFor(func(before, hint, now int64) int64 {
		return max(before+1, min(max(hint, now-slackBy), now+slackBy)) / 10 * 10
	}), []string{"Eval/vote goes up to the hint"}},
	{"vote does not move the counter", scripts(func(r run) (backend.Reply, error) {
		before, had := r.c.value(r.keys[1]), r.found(r.keys[1])
		reply, err := r.do()
		if err == nil && had {
			r.c.server.Set(r.keys[1], before, time.Hour)
		} else if err == nil && r.found(r.keys[1]) {
			r.clears(r.keys[1])
		}
		return reply, err
	}, lua.Vote), []string{"Eval/vote", "Eval/vote keeps the counter"}},
	{"vote that is sent again has another value", scripts(func(r run) (backend.Reply, error) {
		again := r.mine() && r.count() > 0
		reply, err := r.do()
		if reply = r.long(reply); again && err == nil && reply[0] == int64(1) {
			r.moves(r.count() + 1)
			reply[1] = r.count()
		}
		return r.short(reply), err
	}, lua.Vote), []string{"Eval/vote"}},
	{"vote that is sent again extends the lock", first(func(r *run) {
		if ms, err := strconv.Atoi(r.args[1]); err == nil {
			r.c.server.Extend(r.ctx, r.keys[0], r.args[0], time.Duration(ms)*time.Millisecond)
		}
	}, lua.Vote), []string{"Eval/vote", "Eval/vote again after a lost counter"}},
	{"vote moves the counter of a lock that is held", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(0) && r.count() > 0 {
			r.moves(r.count() + 1)
		}
	}, lua.Vote), []string{"Eval/vote", "Eval/vote after the tombstone", "Eval/vote queues"}},
	{"vote does not return the counter with a refusal", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(0) {
			reply[1] = int64(0)
		}
	}, lua.Vote), []string{"Eval/vote"}},
	{"vote does not return the owner", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(0) {
			reply[5] = ""
		}
	}, lua.Vote), []string{"Eval/vote", "Eval/vote queues"}},
	{"vote returns milliseconds", answers(func(r run, reply backend.Reply) { reply[2] = reply[2].(int64) / 1000 }, lua.Vote), []string{
		"Eval/vote", "Eval/vote reports the time"}},
	{"vote always returns the first time", func(c *client) {
		var told any
		answers(func(_ run, reply backend.Reply) {
			if told == nil {
				told = reply[2]
			}
			reply[2] = told
		}, lua.Vote)(c)
	}, []string{"Eval/vote reports the time"}},
	{"vote keeps the counter forever", answers(func(r run, reply backend.Reply) { r.lives(r.keys[1], backend.NoExpiry) }, lua.Vote), []string{
		"Eval/vote", "Eval/vote keeps the counter"}},
	{"vote keeps the counter for an hour", answers(func(r run, reply backend.Reply) { r.lives(r.keys[1], time.Hour) }, lua.Vote), []string{"Eval/vote keeps the counter"}},
	{"vote again after a lost counter is 0", scripts(func(r run) (backend.Reply, error) {
		lost := r.mine() && !r.found(r.keys[1])
		reply, err := r.do()
		if reply = r.long(reply); lost && err == nil {
			r.clears(r.keys[1])
			reply[1] = int64(0)
		}
		return r.short(reply), err
	}, lua.Vote), []string{"Eval/vote again after a lost counter"}},

	// Vote: rejections.
	{"vote does not check its ttl", lenient("1000", 1, 1, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote does not check the time waited", lenient("0", 5, 5, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote does not check its hint", lenient("0", 2, 2, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote does not check the counter's life", lenient("0", 3, 3, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote fails halfway", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil && !r.found(r.keys[1]) {
			r.c.server.Set(r.keys[1], "1", time.Hour)
		}
		return reply, err
	}, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote takes the lock and fails", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil {
			r.c.server.SetNX(r.ctx, r.keys[0], r.args[0], time.Minute)
		}
		return reply, err
	}, lua.Vote), []string{"Eval/vote of bad numbers", "Eval/vote with an invalid counter", "Eval/vote too far ahead", "Eval/quarantine"}},
	{"vote fails on leading zeros", scripts(func(r run) (backend.Reply, error) {
		if strings.HasPrefix(r.args[1], "0") {
			r.c.server.Set(r.keys[1], "1", time.Hour)
			return nil, errors.New("ERR value is not an integer or out of range")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote reads an invalid counter as 0", first(func(r *run) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			r.clears(r.keys[1])
		}
	}, lua.Vote), []string{"Eval/vote with an invalid counter"}},
	{"vote accepts any text with the length of a counter", first(func(r *run) {
		if text := r.c.value(r.keys[1]); len(text) == 16 && !isNumber(text) {
			r.clears(r.keys[1])
		}
	}, lua.Vote), []string{"Eval/vote with an invalid counter"}},
	{"vote accepts a hint in another form", first(func(r *run) {
		if hint, err := strconv.ParseFloat(r.args[2], 64); err == nil && len(r.args[2]) == 16 {
			r.args = slices.Clone(r.args)
			r.args[2] = strconv.FormatFloat(hint, 'f', 0, 64)
		}
	}, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote returns another error", fails(func(run, error) (backend.Reply, error) {
		return nil, errors.New("ERR something is wrong with the counter")
	}, lua.Vote), []string{"Eval/vote with an invalid counter", "Eval/vote too far ahead", "Eval/quarantine"}},
	{"vote does not name the key", fails(func(_ run, err error) (backend.Reply, error) {
		code, _, _ := strings.Cut(err.Error(), " ")
		return nil, errors.New(code + " see to the counter or the marker")
	}, lua.Vote), []string{"Eval/vote with an invalid counter", "Eval/vote too far ahead", "Eval/quarantine"}},
	{"vote moves the counter to its limit", fails(func(r run, err error) (backend.Reply, error) {
		if n := r.count(); n > 0 {
			r.clears(r.keys[1])
			defer func() { r.moves(n + 1) }()
			return r.do()
		}
		return nil, err
	}, lua.Vote), []string{"Eval/vote too far ahead"}},
	{"vote returns a counter that is too far ahead", fails(func(r run, err error) (backend.Reply, error) {
		if n := r.count(); n > 0 && r.found(r.keys[0]) {
			return backend.Reply{int64(0), n, int64(1e15), int64(60_000), int64(-1), ""}, nil
		}
		return nil, err
	}, lua.Vote), []string{"Eval/vote too far ahead"}},
	{"vote ignores tombstones", scripts(func(r run) (backend.Reply, error) {
		r.keys = slices.Clone(r.keys)
		r.keys[2] += " of nobody"
		return r.do()
	}, lua.Vote), []string{"Eval/vote after the tombstone", "Eval/release and rollback add a tombstone"}},
	{"vote after the tombstone looks like any refusal", answers(func(r run, reply backend.Reply) {
		if isDead(reply) {
			reply[3] = int64(0)
		}
	}, lua.Vote), []string{"Eval/vote after the tombstone", "Eval/release and rollback add a tombstone"}},
	{"vote after the tombstone queues", answers(func(r run, reply backend.Reply) {
		if isDead(reply) && r.arg(4) != "" {
			r.also(lua.Rollback, "", r.arg(4), "0", "0")
		}
	}, lua.Vote), []string{"Eval/vote after the tombstone"}},
	{"vote after the tombstone takes the lock", answers(func(r run, reply backend.Reply) {
		if isDead(reply) {
			r.c.server.SetNX(r.ctx, r.keys[0], r.args[0], time.Minute)
		}
	}, lua.Vote), []string{"Eval/vote after the tombstone", "Eval/release and rollback add a tombstone"}},
	{"vote never queues", scripts(func(r run) (backend.Reply, error) { return r.with(4, "") }, lua.Vote), []string{"Eval/vote queues"}},
	{"vote ignores the time waited", scripts(func(r run) (backend.Reply, error) { return r.with(5, "0") }, lua.Vote), []string{"Eval/vote queues"}},
	{"vote leaves the holder in the queue", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(1) && r.arg(4) != "" {
			r.also(lua.Rollback, "", r.arg(4), "2000", "0")
		}
	}, lua.Vote), []string{"Eval/vote queues"}},
	{"vote refuses the notified waiter", first(func(r *run) {
		if r.arg(4) != "" && r.c.value(r.keys[0]) == "~"+r.arg(4) {
			r.args[4] = ""
		}
	}, lua.Vote), []string{"Eval/vote queues"}},
	{"vote takes a reserved lock", first(func(r *run) {
		if ticket, ok := strings.CutPrefix(r.c.value(r.keys[0]), "~"); ok {
			for len(r.args) < 6 {
				r.args = append(r.args, "")
			}
			r.args[4], r.args[5] = ticket, "0"
		}
	}, lua.Vote), []string{"Eval/vote queues"}},
	{"vote fails without a queue", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) < 4 {
			return nil, errors.New("ERR Wrong number of args calling Redis command from script")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote", "Eval/vote without a queue", "Eval/vote with a ticket and without a queue"}},
	{"vote treats every caller that names a queue as a waiter", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) > 3 && r.arg(5) == "" {
			return nil, errors.New("ERR a number of the vote is not an integer or out of range")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote without a queue", "Eval/quarantine"}},
	{"vote checks a time waited without a ticket", scripts(func(r run) (backend.Reply, error) {
		if len(r.args) > 5 && r.args[5] != "" && !isNumber(r.args[5]) {
			return nil, errors.New("ERR a number of the vote is not an integer or out of range")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote without a queue"}},
	{"vote ignores a ticket without a queue", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) < 4 {
			return r.with(4, "")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote with a ticket and without a queue"}},
	{"vote treats a list as free", first(func(r *run) {
		if r.isList(r.keys[0]) {
			r.clears(r.keys[0])
		}
	}, lua.Vote), []string{"Eval/vote for another type"}},
	{"vote fails on a list", scripts(func(r run) (backend.Reply, error) {
		if r.isList(r.keys[0]) {
			return nil, errWrongType
		}
		return r.do()
	}, lua.Vote, lua.Raise, lua.Prolong), []string{"Eval/vote for another type", "Eval/raise for another type", "Eval/prolong of another type"}},

	// Raise.
	{"raise accepts any token", first(func(r *run) { r.args[0] = r.c.value(r.keys[0]) }, lua.Raise), []string{"Eval/raise"}},
	{"raise always reports success", answers(func(_ run, reply backend.Reply) { reply[0] = int64(1) }, lua.Raise), []string{"Eval/raise", "Eval/raise for another type"}},
	{"raise does nothing", answers(func(r run, reply backend.Reply) {
		if r.count() > 2 {
			r.moves(r.count() - 1)
		}
	}, lua.Raise), []string{"Eval/raise"}},
	{"raise lowers the counter", first(func(r *run) {
		if n, err := strconv.ParseInt(r.args[1], 10, 64); err == nil && r.mine() && n < r.count() {
			r.moves(n)
		}
	}, lua.Raise), []string{"Eval/raise"}},
	{"raise to the counter's value fails", scripts(func(r run) (backend.Reply, error) {
		same := strconv.FormatInt(r.count(), 10) == r.args[1]
		reply, err := r.do()
		if same && err == nil {
			reply = backend.Reply{int64(0)}
		}
		return reply, err
	}, lua.Raise), []string{"Eval/raise"}},
	{"raise keeps the counter forever", answers(func(r run, _ backend.Reply) { r.lives(r.keys[1], backend.NoExpiry) }, lua.Raise), []string{"Eval/raise", "Eval/raise keeps the counter"}},
	{"raise keeps the counter for an hour", answers(func(r run, _ backend.Reply) { r.lives(r.keys[1], time.Hour) }, lua.Raise), []string{"Eval/raise keeps the counter"}},
	{"raise does not check its value", lenient("41", 1, 1, lua.Raise), []string{"Eval/raise of bad numbers"}},
	{"raise does not check the counter's life", lenient("1000", 2, 2, lua.Raise), []string{"Eval/raise of bad numbers"}},
	{"raise reads an invalid counter as 0", first(func(r *run) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			r.clears(r.keys[1])
		}
	}, lua.Raise), []string{"Eval/raise with an invalid counter"}},
	{"raise returns another error", fails(func(run, error) (backend.Reply, error) {
		return nil, errors.New("ERR something is wrong with the counter")
	}, lua.Raise), []string{"Eval/raise with an invalid counter", "Eval/raise too far ahead"}},
	{"raise moves the counter to its limit", fails(func(r run, err error) (backend.Reply, error) {
		if r.count() == 0 {
			return nil, err
		}
		r.c.server.Set(r.keys[1], r.args[1], time.Hour)
		return backend.Reply{int64(1)}, nil
	}, lua.Raise), []string{"Eval/raise too far ahead"}},
	{"raise moves the counter to its limit and fails", fails(func(r run, err error) (backend.Reply, error) {
		if r.count() > 0 {
			r.c.server.Set(r.keys[1], r.args[1], time.Hour)
		}
		return nil, err
	}, lua.Raise), []string{"Eval/raise too far ahead"}},

	// Prolong.
	{"prolong accepts any token", first(func(r *run) { r.args[0] = r.c.value(r.keys[0]) }, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong always reports success", answers(func(_ run, reply backend.Reply) { reply[0] = int64(1) }, lua.Prolong), []string{"Eval/prolong", "Eval/prolong of another type"}},
	{"prolong does nothing", scripts(func(r run) (backend.Reply, error) {
		if r.mine() {
			return backend.Reply{int64(1)}, nil
		}
		return r.do()
	}, lua.Prolong), []string{"Eval/prolong", "Eval/prolong restores the counter", "Eval/prolong with an invalid counter"}},
	{"prolong only extends", scripts(func(r run) (backend.Reply, error) {
		return r.c.FaultNode.Eval(r.ctx, lua.Extend, r.keys[:1], r.args[:2])
	}, lua.Prolong), []string{"Eval/prolong restores the counter", "Eval/prolong too far ahead"}},
	{"prolong shortens", answers(func(r run, _ backend.Reply) {
		if ms, err := strconv.Atoi(r.args[1]); err == nil && r.mine() && r.c.ttl(r.keys[0]) != backend.NoExpiry {
			r.lives(r.keys[0], time.Duration(ms)*time.Millisecond)
		}
	}, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong gives every lock an expiry", answers(func(r run, _ backend.Reply) {
		if r.mine() && r.c.ttl(r.keys[0]) == backend.NoExpiry {
			r.lives(r.keys[0], time.Minute)
		}
	}, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong creates the lock", first(func(r *run) { r.c.server.SetNX(r.ctx, r.keys[0], r.args[0], time.Minute) }, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong lowers the counter", first(func(r *run) {
		if n, err := strconv.ParseInt(r.args[2], 10, 64); err == nil && r.mine() && n < r.count() {
			r.moves(n)
		}
	}, lua.Prolong), []string{"Eval/prolong", "Eval/prolong restores the counter"}},
	{"prolong does not keep the counter", scripts(func(r run) (backend.Reply, error) {
		before, ttl := r.c.value(r.keys[1]), r.c.ttl(r.keys[1])
		reply, err := r.do()
		if before != "" && r.c.value(r.keys[1]) == before {
			r.lives(r.keys[1], ttl)
		}
		return reply, err
	}, lua.Prolong), []string{"Eval/prolong restores the counter"}},
	{"prolong keeps the counter for an hour", answers(func(r run, _ backend.Reply) { r.lives(r.keys[1], time.Hour) }, lua.Prolong), []string{"Eval/prolong restores the counter"}},
	{"prolong does not check its ttl", lenient("1000", 1, 1, lua.Prolong), []string{"Eval/prolong of bad numbers"}},
	{"prolong does not check its value", lenient("41", 2, 2, lua.Prolong), []string{"Eval/prolong of bad numbers"}},
	{"prolong does not check the counter's life", lenient("1000", 3, 3, lua.Prolong), []string{"Eval/prolong of bad numbers"}},
	{"prolong fails with an invalid counter", scripts(func(r run) (backend.Reply, error) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			return nil, errors.New("FENCE no counter")
		}
		return r.do()
	}, lua.Prolong), []string{"Eval/prolong with an invalid counter"}},
	{"prolong reads an invalid counter as 0", first(func(r *run) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			r.clears(r.keys[1])
		}
	}, lua.Prolong), []string{"Eval/prolong with an invalid counter"}},
	{"prolong moves the counter to its limit", fails(func(r run, err error) (backend.Reply, error) {
		r.c.server.Set(r.keys[1], r.args[2], time.Hour)
		return backend.Reply{int64(1)}, nil
	}, lua.Prolong), []string{"Eval/prolong too far ahead"}},
	{"prolong extends and fails", fails(func(r run, err error) (backend.Reply, error) {
		r.c.server.Extend(r.ctx, r.keys[0], r.args[0], 10*time.Minute)
		return nil, err
	}, lua.Prolong), []string{"Eval/prolong too far ahead"}},

	// Tombstones.
	{"release and rollback add no tombstone", scripts(func(r run) (backend.Reply, error) {
		r.keys = r.keys[:2]
		return r.do()
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add a tombstone", "Eval/release and rollback with a tombstone of bad numbers"}},
	{"release and rollback add a tombstone only if they found the lock", answers(func(r run, reply backend.Reply) {
		if len(r.keys) > 2 && reply[0] == int64(0) {
			r.clears(r.keys[2])
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add a tombstone"}},
	{"release and rollback add a tombstone only if they found no lock", answers(func(r run, reply backend.Reply) {
		if len(r.keys) > 2 && reply[0] == int64(1) {
			r.clears(r.keys[2])
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add a tombstone"}},
	{"release and rollback add a tombstone and do nothing else", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) < 3 || r.args[0] == "" {
			return r.do()
		}
		mine := r.mine()
		lock := r.keys[0]
		r.keys = append([]string{lock + "{" + lock + "}elsewhere"}, r.keys[1:]...)
		if reply, err := r.do(); err != nil || !mine {
			return reply, err
		}
		return backend.Reply{int64(1)}, nil
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add a tombstone"}},
	{"release and rollback always add a tombstone", answers(func(r run, _ backend.Reply) {
		r.c.server.Set(r.keys[1]+":gone:"+r.args[0], "1", time.Minute)
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add no tombstone"}},
	{"the tombstone does not expire", answers(func(r run, _ backend.Reply) {
		if len(r.keys) > 2 {
			r.lives(r.keys[2], backend.NoExpiry)
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add a tombstone", "Eval/release and rollback add a tombstone that expires"}},
	{"the tombstone expires too early", answers(func(r run, _ backend.Reply) {
		if len(r.keys) > 2 {
			r.lives(r.keys[2], r.c.ttl(r.keys[2])/2)
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback add a tombstone", "Eval/release and rollback add a tombstone that expires"}},
	{"release does not check the life of a tombstone", lenient("1000", 3, 3, lua.Release), []string{"Eval/release and rollback with a tombstone of bad numbers"}},
	{"rollback does not check the life of a tombstone", lenient("1000", 4, 4, lua.Rollback), []string{"Eval/release and rollback with a tombstone of bad numbers"}},
	{"release with a bad tombstone fails halfway", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil {
			r.c.server.EvalDelete(r.ctx, r.keys[0], r.args[0])
		}
		return reply, err
	}, lua.Release), []string{"Eval/release and rollback with a tombstone of bad numbers"}},

	// Quarantine.
	{"acquire ignores the quarantine", unguarded(lua.Acquire), quarantines},
	{"vote ignores the quarantine", unguarded(lua.Vote), quarantines},
	{"raise ignores the quarantine", unguarded(lua.Raise), quarantines},
	{"no quarantine without a marker", scripts(func(r run) (backend.Reply, error) {
		if !r.found(r.marker()) {
			r.keys, r.args = r.keys[:len(r.keys)-1], r.args[:len(r.args)-1]
		}
		return r.do()
	}, lua.Vote), []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of bad numbers", "Eval/mark"}},
	{"any marker is accepted", before(func(r *run) {
		if r.found(r.marker()) && !r.isList(r.marker()) {
			r.marks()
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of another run"}},
	{"a marker of another run is accepted", before(func(r *run) {
		if of, _, ok := strings.Cut(r.c.value(r.marker()), " "); ok && of != r.run() {
			r.marks()
		}
	}, voters...), []string{"Eval/quarantine of another run"}},
	{"a marker from the future is accepted", before(func(r *run) {
		of, text, _ := strings.Cut(r.c.value(r.marker()), " ")
		if since, err := strconv.ParseInt(text, 10, 64); err == nil && of == r.run() && since > time.Now().UnixMicro() {
			r.marks()
		}
	}, voters...), []string{"Eval/quarantine of another run"}},
	{"a quarantine restarts again and again", before(func(r *run) {
		if !strings.HasSuffix(r.c.value(r.marker()), " 0") && !r.isList(r.marker()) {
			r.clears(r.marker())
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends"}},
	{"a quarantine never begins", scripts(func(r run) (backend.Reply, error) {
		had := r.found(r.marker())
		reply, err := r.do()
		if !had {
			r.clears(r.marker())
		}
		return reply, err
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends"}},
	{"a marker expires", answersAnyhow(func(r run) {
		if r.found(r.marker()) && !r.isList(r.marker()) {
			r.lives(r.marker(), time.Hour)
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine of another run"}},
	{"all quarantines have the same length", before(func(r *run) {
		if n := len(r.args) - 1; isNumber(r.args[n]) {
			r.args[n] = "10000"
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends"}},
	{"a quarantine is in seconds", before(func(r *run) {
		if n := len(r.args) - 1; isNumber(r.args[n]) && len(r.args[n]) > 3 {
			r.args[n] = r.args[n][:len(r.args[n])-3]
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends"}},
	{"a missing length means no quarantine", scripts(func(r run) (backend.Reply, error) {
		if n := len(r.keys) - 1; r.keys[n] == r.marker() && (r.lacksLength() || !isNumber(r.args[len(r.args)-1])) {
			r.keys = r.keys[:n]
		}
		return r.do()
	}, voters...), []string{"Eval/quarantine of bad numbers"}},
	{"a quarantine of a bad length begins", answersAnyhow(func(r run) {
		if r.marker() != "" && !r.isList(r.marker()) {
			r.c.server.SetNX(r.ctx, r.marker(), r.run()+" 1", time.Hour)
		}
	}, voters...), []string{"Eval/quarantine of bad numbers"}},
	{"a server in quarantine votes and fails", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil && r.marker() != "" {
			switch r.script {
			case lua.Raise:
				r.moves(r.count() + 1)
			default:
				r.c.server.SetNX(r.ctx, r.keys[0], r.args[0], time.Minute)
			}
		}
		return reply, err
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of another run",
		"Eval/quarantine of bad numbers", "Eval/quarantine with a marker of another type", "Eval/mark"}},
	{"a quarantine does not report its end", fails(func(r run, err error) (backend.Reply, error) {
		if strings.HasPrefix(err.Error(), "QUARANTINE") {
			err = errors.New("QUARANTINE of " + r.marker())
		}
		return nil, err
	}, voters...), quarantines},
	{"a list is overwritten by a marker", before(func(r *run) {
		if r.isList(r.marker()) {
			r.clears(r.marker())
		}
	}, append([]*backend.Script{lua.Mark}, voters...)...), []string{"Eval/quarantine with a marker of another type"}},

	// Mark.
	{"mark does nothing", scripts(func(r run) (backend.Reply, error) { return backend.Reply{int64(1)}, nil }, lua.Mark), []string{"Eval/mark", "Eval/quarantine"}},
	{"mark keeps the old marker", scripts(func(r run) (backend.Reply, error) {
		if r.found(r.keys[0]) && !r.isList(r.keys[0]) {
			return backend.Reply{int64(1)}, nil
		}
		return r.do()
	}, lua.Mark), []string{"Eval/mark", "Eval/quarantine"}},
	{"mark expires", answers(func(r run, _ backend.Reply) { r.lives(r.keys[0], time.Hour) }, lua.Mark), []string{"Eval/mark"}},
	{"each mark is of another run", answers(func(r run, _ backend.Reply) { r.c.server.Restart(); r.marks() }, lua.Mark), []string{"Eval/mark"}},
	{"mark returns another number", answers(func(r run, reply backend.Reply) { reply[0] = int64(0) }, lua.Mark), []string{"Eval/mark"}},
}

// voters are the scripts that check the marker.
var voters = []*backend.Script{lua.Acquire, lua.Vote, lua.Raise}

// quarantines are the checks that detect a node without a quarantine.
var quarantines = []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of another run", "Eval/mark"}

// marker is the key of the server's marker, empty if the script must not check it.
func (r run) marker() string {
	at := map[*backend.Script]int{lua.Acquire: 2, lua.Vote: 4, lua.Raise: 2, lua.Mark: 0}[r.script]
	if at < len(r.keys) {
		return r.keys[at]
	}
	return ""
}

// lacksLength reports whether a call has a marker but no length.
func (r run) lacksLength() bool {
	return len(r.args) <= map[*backend.Script]int{lua.Acquire: 4, lua.Vote: 6, lua.Raise: 3}[r.script]
}

// marks marks the server as having lost nothing.
func (r run) marks() { r.c.server.Eval(r.ctx, lua.Mark, []string{r.marker()}, nil) }

// run is the server's run_id.
func (r run) run() string {
	const key = "to tell the run"
	r.c.server.Eval(r.ctx, lua.Mark, []string{key}, nil)
	id, _, _ := strings.Cut(r.c.value(key), " ")
	r.clears(key)
	return id
}

// unguarded returns a node on which a script does not check the marker.
func unguarded(of *backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		if r.marker() != "" {
			r.keys = r.keys[:len(r.keys)-1]
		}
		return r.do()
	}, of)
}

// before returns a node that does something before a script that checks the marker.
func before(happens func(r *run), of ...*backend.Script) func(c *client) {
	return first(func(r *run) {
		if r.marker() != "" {
			happens(r)
		}
	}, of...)
}

// answersAnyhow returns a node that does something after a script that checks the marker, even if
// the script failed.
func answersAnyhow(happens func(r run), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if r.marker() != "" {
			happens(r)
		}
		return reply, err
	}, of...)
}
