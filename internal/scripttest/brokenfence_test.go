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

// isNumber reports whether a text is a number that a script of fencing takes.
func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil && len(text) <= 16
}

// counter is the key of the script's counter.
func (r run) counter() string { return r.keys[1] }

// count returns what a counter stands at.
func (r run) count() int64 {
	c, _ := strconv.ParseInt(r.c.value(r.counter()), 10, 64)
	return c
}

// found reports whether a key is there.
func (r run) found(key string) bool {
	e, _ := r.c.server.Inspect(r.ctx, key)
	return e.Found
}

// isDead reports whether a vote's answer says that the token has a tombstone.
func isDead(vote backend.Reply) bool { return len(vote) == 6 && vote[3] == int64(-2) }

// isList reports whether a key holds what the harness pushes.
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

// moves has the counter stand at n, and live for as long as it does.
func (r run) moves(n int64) {
	if ttl := r.c.ttl(r.counter()); ttl != 0 { // it is there
		r.c.server.Set(r.counter(), strconv.FormatInt(n, 10), ttl)
	}
}

// lives has a key live for another time.
func (r run) lives(key string, ttl time.Duration) {
	if r.found(key) {
		r.c.server.Set(key, r.c.value(key), ttl)
	}
}

// fails returns a node of which a script does something else where it should fail
// with FENCE or QUARANTINE.
func fails(instead func(r run, err error) (backend.Reply, error), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil && !strings.HasPrefix(err.Error(), "ERR") {
			return instead(r, err)
		}
		return reply, err
	}, of...)
}

// lenient returns a node of which a script takes what is no number for one. From and
// to are the first and the last argument.
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

// votesFor returns a node whose votes are for another number, which follows from
// where the counter was, the hint and the time.
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

// long returns the answer of a script as it is where it is not for the hint, if it is a
// vote's.
func (r run) long(reply backend.Reply) backend.Reply {
	if r.script == lua.Vote && len(reply) == 1 {
		hint, _ := strconv.ParseInt(r.args[2], 10, 64)
		return backend.Reply{int64(1), hint, reply[0]}
	}
	return slices.Clone(reply)
}

// short is the way back.
func (r run) short(reply backend.Reply) backend.Reply {
	if r.script == lua.Vote && len(reply) == 3 {
		if hint, _ := strconv.ParseInt(r.args[2], 10, 64); reply[1] == hint {
			return reply[2:]
		}
	}
	return reply
}

// answers returns a node of which a script's answers are changed.
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

// first returns a node of which something else happens before a script.
func first(before func(r *run), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		r.args = slices.Clone(r.args)
		before(&r)
		return r.do()
	}, of...)
}

const slackBy = 250_000

// brokenFences are nodes whose votes are broken.
var brokenFences = []brokenNode{
	// Vote: the number.
	{"vote ignores the hint", votesFor(func(before, _, now int64) int64 { return max(before+1, now-slackBy) }), []string{"Eval/vote goes up to the hint"}},
	{"vote follows any hint", votesFor(func(before, hint, now int64) int64 { return max(before+1, hint, now-slackBy) }), []string{"Eval/vote goes up to the hint"}},
	{"vote begins at 1", votesFor(func(before, hint, now int64) int64 { return max(before+1, min(hint, now+slackBy)) }), []string{
		"Eval/vote", "Eval/vote goes up to the hint", "Eval/vote again after a loss"}},
	{"vote is for the time", votesFor(func(before, _, now int64) int64 { return max(before+1, now) }), []string{"Eval/vote", "Eval/vote goes up to the hint"}},
	{"vote stays where the counter is", votesFor(func(before, hint, now int64) int64 { return max(before, min(max(hint, now-slackBy), now+slackBy)) }), []string{
		"Eval/vote goes up to the hint", "Eval/vote once each"}},
	{"vote goes down with the clock", votesFor(func(_, hint, now int64) int64 { return min(max(hint, now-slackBy), now+slackBy) }), []string{
		"Eval/vote goes up to the hint", "Eval/vote once each"}},
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
	{"vote that is sent again is another", scripts(func(r run) (backend.Reply, error) {
		again := r.mine() && r.count() > 0
		reply, err := r.do()
		if reply = r.long(reply); again && err == nil && reply[0] == int64(1) {
			r.moves(r.count() + 1)
			reply[1] = r.count()
		}
		return r.short(reply), err
	}, lua.Vote), []string{"Eval/vote"}},
	{"vote that is sent again lengthens the lock", first(func(r *run) {
		if ms, err := strconv.Atoi(r.args[1]); err == nil {
			r.c.server.Extend(r.ctx, r.keys[0], r.args[0], time.Duration(ms)*time.Millisecond)
		}
	}, lua.Vote), []string{"Eval/vote", "Eval/vote again after a loss"}},
	{"vote moves the counter of a lock that is held", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(0) && r.count() > 0 {
			r.moves(r.count() + 1)
		}
	}, lua.Vote), []string{"Eval/vote", "Eval/vote of the dead", "Eval/vote queues"}},
	{"vote does not show the counter to who is refused", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(0) {
			reply[1] = int64(0)
		}
	}, lua.Vote), []string{"Eval/vote"}},
	{"vote does not show the owner", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(0) {
			reply[5] = ""
		}
	}, lua.Vote), []string{"Eval/vote", "Eval/vote queues"}},
	{"vote tells milliseconds", answers(func(r run, reply backend.Reply) { reply[2] = reply[2].(int64) / 1000 }, lua.Vote), []string{
		"Eval/vote", "Eval/vote tells the time"}},
	{"vote tells when it was first asked", func(c *client) {
		var told any
		answers(func(_ run, reply backend.Reply) {
			if told == nil {
				told = reply[2]
			}
			reply[2] = told
		}, lua.Vote)(c)
	}, []string{"Eval/vote tells the time"}},
	{"vote keeps the counter for ever", answers(func(r run, reply backend.Reply) { r.lives(r.keys[1], backend.NoExpiry) }, lua.Vote), []string{
		"Eval/vote", "Eval/vote keeps the counter"}},
	{"vote keeps the counter for an hour", answers(func(r run, reply backend.Reply) { r.lives(r.keys[1], time.Hour) }, lua.Vote), []string{"Eval/vote keeps the counter"}},
	{"vote again after a loss is for nothing", scripts(func(r run) (backend.Reply, error) {
		lost := r.mine() && !r.found(r.keys[1])
		reply, err := r.do()
		if reply = r.long(reply); lost && err == nil {
			r.clears(r.keys[1])
			reply[1] = int64(0)
		}
		return r.short(reply), err
	}, lua.Vote), []string{"Eval/vote again after a loss"}},

	// Vote: what it refuses.
	{"vote does not look at its ttl", lenient("1000", 1, 1, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote does not look at the time waited", lenient("0", 5, 5, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote does not look at its hint", lenient("0", 2, 2, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote does not look at the counter's life", lenient("0", 3, 3, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote fails half way", scripts(func(r run) (backend.Reply, error) {
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
	}, lua.Vote), []string{"Eval/vote of bad numbers", "Eval/vote beside no counter", "Eval/vote too far ahead", "Eval/quarantine"}},
	{"vote fails on noughts", scripts(func(r run) (backend.Reply, error) {
		if strings.HasPrefix(r.args[1], "0") {
			r.c.server.Set(r.keys[1], "1", time.Hour)
			return nil, errors.New("ERR value is not an integer or out of range")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote takes what is no counter for 0", first(func(r *run) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			r.clears(r.keys[1])
		}
	}, lua.Vote), []string{"Eval/vote beside no counter"}},
	{"vote takes what is as long as a counter for one", first(func(r *run) {
		if text := r.c.value(r.keys[1]); len(text) == 16 && !isNumber(text) {
			r.clears(r.keys[1])
		}
	}, lua.Vote), []string{"Eval/vote beside no counter"}},
	{"vote takes a hint in other words", first(func(r *run) {
		if hint, err := strconv.ParseFloat(r.args[2], 64); err == nil && len(r.args[2]) == 16 {
			r.args = slices.Clone(r.args)
			r.args[2] = strconv.FormatFloat(hint, 'f', 0, 64)
		}
	}, lua.Vote), []string{"Eval/vote of bad numbers"}},
	{"vote fails by another name", fails(func(run, error) (backend.Reply, error) {
		return nil, errors.New("ERR something is wrong with the counter")
	}, lua.Vote), []string{"Eval/vote beside no counter", "Eval/vote too far ahead", "Eval/quarantine"}},
	{"vote does not name the key", fails(func(_ run, err error) (backend.Reply, error) {
		code, _, _ := strings.Cut(err.Error(), " ")
		return nil, errors.New(code + " see to the counter or the marker")
	}, lua.Vote), []string{"Eval/vote beside no counter", "Eval/vote too far ahead", "Eval/quarantine"}},
	{"vote goes to the end", fails(func(r run, err error) (backend.Reply, error) {
		if n := r.count(); n > 0 {
			r.clears(r.keys[1])
			defer func() { r.moves(n + 1) }()
			return r.do()
		}
		return nil, err
	}, lua.Vote), []string{"Eval/vote too far ahead"}},
	{"vote shows a counter that is too far ahead", fails(func(r run, err error) (backend.Reply, error) {
		if n := r.count(); n > 0 && r.found(r.keys[0]) {
			return backend.Reply{int64(0), n, int64(1e15), int64(60_000), int64(-1), ""}, nil
		}
		return nil, err
	}, lua.Vote), []string{"Eval/vote too far ahead"}},
	{"vote does not see tombstones", scripts(func(r run) (backend.Reply, error) {
		r.keys = slices.Clone(r.keys)
		r.keys[2] += " of nobody"
		return r.do()
	}, lua.Vote), []string{"Eval/vote of the dead", "Eval/release and rollback put up a tombstone"}},
	{"vote of the dead looks like any other", answers(func(r run, reply backend.Reply) {
		if isDead(reply) {
			reply[3] = int64(0)
		}
	}, lua.Vote), []string{"Eval/vote of the dead", "Eval/release and rollback put up a tombstone"}},
	{"vote of the dead queues", answers(func(r run, reply backend.Reply) {
		if isDead(reply) && r.arg(4) != "" {
			r.also(lua.Rollback, "", r.arg(4), "0", "0")
		}
	}, lua.Vote), []string{"Eval/vote of the dead"}},
	{"vote of the dead takes the lock", answers(func(r run, reply backend.Reply) {
		if isDead(reply) {
			r.c.server.SetNX(r.ctx, r.keys[0], r.args[0], time.Minute)
		}
	}, lua.Vote), []string{"Eval/vote of the dead", "Eval/release and rollback put up a tombstone"}},
	{"vote never queues", scripts(func(r run) (backend.Reply, error) { return r.with(4, "") }, lua.Vote), []string{"Eval/vote queues"}},
	{"vote queues by when it was asked", scripts(func(r run) (backend.Reply, error) { return r.with(5, "0") }, lua.Vote), []string{"Eval/vote queues"}},
	{"vote leaves who has the lock in the queue", answers(func(r run, reply backend.Reply) {
		if reply[0] == int64(1) && r.arg(4) != "" {
			r.also(lua.Rollback, "", r.arg(4), "2000", "0")
		}
	}, lua.Vote), []string{"Eval/vote queues"}},
	{"vote refuses the one that was called", first(func(r *run) {
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
	{"vote takes whoever names a queue for a waiter", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) > 3 && r.arg(5) == "" {
			return nil, errors.New("ERR a number of the vote is not an integer or out of range")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote without a queue", "Eval/quarantine"}},
	{"vote looks at a time of nobody", scripts(func(r run) (backend.Reply, error) {
		if len(r.args) > 5 && r.args[5] != "" && !isNumber(r.args[5]) {
			return nil, errors.New("ERR a number of the vote is not an integer or out of range")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote without a queue"}},
	{"vote looks at no ticket without a queue", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) < 4 {
			return r.with(4, "")
		}
		return r.do()
	}, lua.Vote), []string{"Eval/vote with a ticket and without a queue"}},
	{"vote takes a list for free", first(func(r *run) {
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
	{"raise is for anybody", first(func(r *run) { r.args[0] = r.c.value(r.keys[0]) }, lua.Raise), []string{"Eval/raise"}},
	{"raise says yes always", answers(func(_ run, reply backend.Reply) { reply[0] = int64(1) }, lua.Raise), []string{"Eval/raise", "Eval/raise for another type"}},
	{"raise does nothing", answers(func(r run, reply backend.Reply) {
		if r.count() > 2 {
			r.moves(r.count() - 1)
		}
	}, lua.Raise), []string{"Eval/raise"}},
	{"raise goes down", first(func(r *run) {
		if n, err := strconv.ParseInt(r.args[1], 10, 64); err == nil && r.mine() && n < r.count() {
			r.moves(n)
		}
	}, lua.Raise), []string{"Eval/raise"}},
	{"raise to where the counter is fails", scripts(func(r run) (backend.Reply, error) {
		same := strconv.FormatInt(r.count(), 10) == r.args[1]
		reply, err := r.do()
		if same && err == nil {
			reply = backend.Reply{int64(0)}
		}
		return reply, err
	}, lua.Raise), []string{"Eval/raise"}},
	{"raise keeps the counter for ever", answers(func(r run, _ backend.Reply) { r.lives(r.keys[1], backend.NoExpiry) }, lua.Raise), []string{"Eval/raise", "Eval/raise keeps the counter"}},
	{"raise keeps the counter for an hour", answers(func(r run, _ backend.Reply) { r.lives(r.keys[1], time.Hour) }, lua.Raise), []string{"Eval/raise keeps the counter"}},
	{"raise does not look at its value", lenient("41", 1, 1, lua.Raise), []string{"Eval/raise of bad numbers"}},
	{"raise does not look at the counter's life", lenient("1000", 2, 2, lua.Raise), []string{"Eval/raise of bad numbers"}},
	{"raise takes what is no counter for 0", first(func(r *run) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			r.clears(r.keys[1])
		}
	}, lua.Raise), []string{"Eval/raise beside no counter"}},
	{"raise fails by another name", fails(func(run, error) (backend.Reply, error) {
		return nil, errors.New("ERR something is wrong with the counter")
	}, lua.Raise), []string{"Eval/raise beside no counter", "Eval/raise too far ahead"}},
	{"raise goes to the end", fails(func(r run, err error) (backend.Reply, error) {
		if r.count() == 0 {
			return nil, err
		}
		r.c.server.Set(r.keys[1], r.args[1], time.Hour)
		return backend.Reply{int64(1)}, nil
	}, lua.Raise), []string{"Eval/raise too far ahead"}},
	{"raise goes to the end and fails", fails(func(r run, err error) (backend.Reply, error) {
		if r.count() > 0 {
			r.c.server.Set(r.keys[1], r.args[1], time.Hour)
		}
		return nil, err
	}, lua.Raise), []string{"Eval/raise too far ahead"}},

	// Prolong.
	{"prolong is for anybody", first(func(r *run) { r.args[0] = r.c.value(r.keys[0]) }, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong says yes always", answers(func(_ run, reply backend.Reply) { reply[0] = int64(1) }, lua.Prolong), []string{"Eval/prolong", "Eval/prolong of another type"}},
	{"prolong does nothing", scripts(func(r run) (backend.Reply, error) {
		if r.mine() {
			return backend.Reply{int64(1)}, nil
		}
		return r.do()
	}, lua.Prolong), []string{"Eval/prolong", "Eval/prolong makes the counter good", "Eval/prolong beside no counter"}},
	{"prolong only extends", scripts(func(r run) (backend.Reply, error) {
		return r.c.FaultNode.Eval(r.ctx, lua.Extend, r.keys[:1], r.args[:2])
	}, lua.Prolong), []string{"Eval/prolong makes the counter good", "Eval/prolong too far ahead"}},
	{"prolong shortens", answers(func(r run, _ backend.Reply) {
		if ms, err := strconv.Atoi(r.args[1]); err == nil && r.mine() && r.c.ttl(r.keys[0]) != backend.NoExpiry {
			r.lives(r.keys[0], time.Duration(ms)*time.Millisecond)
		}
	}, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong gives every lock an end", answers(func(r run, _ backend.Reply) {
		if r.mine() && r.c.ttl(r.keys[0]) == backend.NoExpiry {
			r.lives(r.keys[0], time.Minute)
		}
	}, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong creates the lock", first(func(r *run) { r.c.server.SetNX(r.ctx, r.keys[0], r.args[0], time.Minute) }, lua.Prolong), []string{"Eval/prolong"}},
	{"prolong takes the counter down", first(func(r *run) {
		if n, err := strconv.ParseInt(r.args[2], 10, 64); err == nil && r.mine() && n < r.count() {
			r.moves(n)
		}
	}, lua.Prolong), []string{"Eval/prolong", "Eval/prolong makes the counter good"}},
	{"prolong does not keep the counter", scripts(func(r run) (backend.Reply, error) {
		before, ttl := r.c.value(r.keys[1]), r.c.ttl(r.keys[1])
		reply, err := r.do()
		if before != "" && r.c.value(r.keys[1]) == before {
			r.lives(r.keys[1], ttl)
		}
		return reply, err
	}, lua.Prolong), []string{"Eval/prolong makes the counter good"}},
	{"prolong keeps the counter for an hour", answers(func(r run, _ backend.Reply) { r.lives(r.keys[1], time.Hour) }, lua.Prolong), []string{"Eval/prolong makes the counter good"}},
	{"prolong does not look at its ttl", lenient("1000", 1, 1, lua.Prolong), []string{"Eval/prolong of bad numbers"}},
	{"prolong does not look at its value", lenient("41", 2, 2, lua.Prolong), []string{"Eval/prolong of bad numbers"}},
	{"prolong does not look at the counter's life", lenient("1000", 3, 3, lua.Prolong), []string{"Eval/prolong of bad numbers"}},
	{"prolong fails beside no counter", scripts(func(r run) (backend.Reply, error) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			return nil, errors.New("FENCE no counter")
		}
		return r.do()
	}, lua.Prolong), []string{"Eval/prolong beside no counter"}},
	{"prolong takes what is no counter for 0", first(func(r *run) {
		if r.found(r.keys[1]) && !isNumber(r.c.value(r.keys[1])) {
			r.clears(r.keys[1])
		}
	}, lua.Prolong), []string{"Eval/prolong beside no counter"}},
	{"prolong goes to the end", fails(func(r run, err error) (backend.Reply, error) {
		r.c.server.Set(r.keys[1], r.args[2], time.Hour)
		return backend.Reply{int64(1)}, nil
	}, lua.Prolong), []string{"Eval/prolong too far ahead"}},
	{"prolong extends and fails", fails(func(r run, err error) (backend.Reply, error) {
		r.c.server.Extend(r.ctx, r.keys[0], r.args[0], 10*time.Minute)
		return nil, err
	}, lua.Prolong), []string{"Eval/prolong too far ahead"}},

	// Tombstones.
	{"release and rollback put up no tombstone", scripts(func(r run) (backend.Reply, error) {
		r.keys = r.keys[:2]
		return r.do()
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up a tombstone", "Eval/release and rollback with a tombstone of bad numbers"}},
	{"release and rollback put up a tombstone for a lock only", answers(func(r run, reply backend.Reply) {
		if len(r.keys) > 2 && reply[0] == int64(0) {
			r.clears(r.keys[2])
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up a tombstone"}},
	{"release and rollback put up a tombstone for nobody only", answers(func(r run, reply backend.Reply) {
		if len(r.keys) > 2 && reply[0] == int64(1) {
			r.clears(r.keys[2])
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up a tombstone"}},
	{"release and rollback put up a tombstone and do nothing else", scripts(func(r run) (backend.Reply, error) {
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
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up a tombstone"}},
	{"release and rollback always put up a tombstone", answers(func(r run, _ backend.Reply) {
		r.c.server.Set(r.keys[1]+":gone:"+r.args[0], "1", time.Minute)
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up no tombstone"}},
	{"the tombstone stands for ever", answers(func(r run, _ backend.Reply) {
		if len(r.keys) > 2 {
			r.lives(r.keys[2], backend.NoExpiry)
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up a tombstone", "Eval/release and rollback put up a tombstone for a time"}},
	{"the tombstone falls too early", answers(func(r run, _ backend.Reply) {
		if len(r.keys) > 2 {
			r.lives(r.keys[2], r.c.ttl(r.keys[2])/2)
		}
	}, lua.Release, lua.Rollback), []string{"Eval/release and rollback put up a tombstone", "Eval/release and rollback put up a tombstone for a time"}},
	{"release does not look at the life of a tombstone", lenient("1000", 3, 3, lua.Release), []string{"Eval/release and rollback with a tombstone of bad numbers"}},
	{"rollback does not look at the life of a tombstone", lenient("1000", 4, 4, lua.Rollback), []string{"Eval/release and rollback with a tombstone of bad numbers"}},
	{"release with a bad tombstone fails half way", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil {
			r.c.server.EvalDelete(r.ctx, r.keys[0], r.args[0])
		}
		return reply, err
	}, lua.Release), []string{"Eval/release and rollback with a tombstone of bad numbers"}},

	// Quarantine.
	{"acquire knows no quarantine", unguarded(lua.Acquire), quarantines},
	{"vote knows no quarantine", unguarded(lua.Vote), quarantines},
	{"raise knows no quarantine", unguarded(lua.Raise), quarantines},
	{"no quarantine without a marker", scripts(func(r run) (backend.Reply, error) {
		if !r.found(r.marker()) {
			r.keys, r.args = r.keys[:len(r.keys)-1], r.args[:len(r.args)-1]
		}
		return r.do()
	}, lua.Vote), []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of bad numbers", "Eval/mark"}},
	{"any marker will do", before(func(r *run) {
		if r.found(r.marker()) && !r.isList(r.marker()) {
			r.marks()
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of another run"}},
	{"a marker of another run will do", before(func(r *run) {
		if of, _, ok := strings.Cut(r.c.value(r.marker()), " "); ok && of != r.run() {
			r.marks()
		}
	}, voters...), []string{"Eval/quarantine of another run"}},
	{"a marker from the future will do", before(func(r *run) {
		of, text, _ := strings.Cut(r.c.value(r.marker()), " ")
		if since, err := strconv.ParseInt(text, 10, 64); err == nil && of == r.run() && since > time.Now().UnixMicro() {
			r.marks()
		}
	}, voters...), []string{"Eval/quarantine of another run"}},
	{"a quarantine begins again and again", before(func(r *run) {
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
	{"all quarantines are as long", before(func(r *run) {
		if n := len(r.args) - 1; isNumber(r.args[n]) {
			r.args[n] = "10000"
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends"}},
	{"a quarantine is in seconds", before(func(r *run) {
		if n := len(r.args) - 1; isNumber(r.args[n]) && len(r.args[n]) > 3 {
			r.args[n] = r.args[n][:len(r.args[n])-3]
		}
	}, voters...), []string{"Eval/quarantine", "Eval/quarantine ends"}},
	{"a quarantine without a length is none", scripts(func(r run) (backend.Reply, error) {
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
	{"what is in quarantine votes and fails", scripts(func(r run) (backend.Reply, error) {
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
		"Eval/quarantine of bad numbers", "Eval/quarantine beside another type", "Eval/mark"}},
	{"a quarantine does not say for how long", fails(func(r run, err error) (backend.Reply, error) {
		if strings.HasPrefix(err.Error(), "QUARANTINE") {
			err = errors.New("QUARANTINE of " + r.marker())
		}
		return nil, err
	}, voters...), quarantines},
	{"a list is overwritten by a marker", before(func(r *run) {
		if r.isList(r.marker()) {
			r.clears(r.marker())
		}
	}, append([]*backend.Script{lua.Mark}, voters...)...), []string{"Eval/quarantine beside another type"}},

	// Mark.
	{"mark does nothing", scripts(func(r run) (backend.Reply, error) { return backend.Reply{int64(1)}, nil }, lua.Mark), []string{"Eval/mark", "Eval/quarantine"}},
	{"mark keeps what is there", scripts(func(r run) (backend.Reply, error) {
		if r.found(r.keys[0]) && !r.isList(r.keys[0]) {
			return backend.Reply{int64(1)}, nil
		}
		return r.do()
	}, lua.Mark), []string{"Eval/mark", "Eval/quarantine"}},
	{"mark expires", answers(func(r run, _ backend.Reply) { r.lives(r.keys[0], time.Hour) }, lua.Mark), []string{"Eval/mark"}},
	{"mark is of another run each time", answers(func(r run, _ backend.Reply) { r.c.server.Restart(); r.marks() }, lua.Mark), []string{"Eval/mark"}},
	{"mark says what it did", answers(func(r run, reply backend.Reply) { reply[0] = int64(0) }, lua.Mark), []string{"Eval/mark"}},
}

// voters are the scripts that vote.
var voters = []*backend.Script{lua.Acquire, lua.Vote, lua.Raise}

// quarantines are the checks that see a node which does not know of it.
var quarantines = []string{"Eval/quarantine", "Eval/quarantine ends", "Eval/quarantine of another run", "Eval/mark"}

// marker is the key of the server's marker, empty if the script is not to look at it.
func (r run) marker() string {
	at := map[*backend.Script]int{lua.Acquire: 2, lua.Vote: 4, lua.Raise: 2, lua.Mark: 0}[r.script]
	if at < len(r.keys) {
		return r.keys[at]
	}
	return ""
}

// lacksLength reports whether a script has a marker and no length.
func (r run) lacksLength() bool {
	return len(r.args) <= map[*backend.Script]int{lua.Acquire: 4, lua.Vote: 6, lua.Raise: 3}[r.script]
}

// marks says that the server is well.
func (r run) marks() { r.c.server.Eval(r.ctx, lua.Mark, []string{r.marker()}, nil) }

// run is the server's run_id.
func (r run) run() string {
	const key = "to tell the run"
	r.c.server.Eval(r.ctx, lua.Mark, []string{key}, nil)
	id, _, _ := strings.Cut(r.c.value(key), " ")
	r.clears(key)
	return id
}

// unguarded returns a node of which a script does not look at the marker.
func unguarded(of *backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		if r.marker() != "" {
			r.keys = r.keys[:len(r.keys)-1]
		}
		return r.do()
	}, of)
}

// before returns a node of which something else happens before a script that looks at
// the marker.
func before(happens func(r *run), of ...*backend.Script) func(c *client) {
	return first(func(r *run) {
		if r.marker() != "" {
			happens(r)
		}
	}, of...)
}

// answersAnyhow returns a node of which something else happens after a script that
// looks at the marker, whether it failed or not.
func answersAnyhow(happens func(r run), of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if r.marker() != "" {
			happens(r)
		}
		return reply, err
	}, of...)
}
