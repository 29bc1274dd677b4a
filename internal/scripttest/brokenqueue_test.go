package scripttest_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A run is one call of a script.
type run struct {
	ctx        context.Context
	c          *client
	script     *backend.Script
	keys, args []string
}

// do makes the call on the server that is not broken.
func (r run) do() (backend.Reply, error) { return r.c.FaultNode.Eval(r.ctx, r.script, r.keys, r.args) }

// also makes another call on the lock and its queue, and ignores the reply.
func (r run) also(s *backend.Script, args ...string) {
	keys := r.keys[:min(2, len(r.keys))]
	if r.script == lua.Vote {
		keys = append([]string{r.keys[0]}, r.keys[min(3, len(r.keys)):min(4, len(r.keys))]...)
	}
	r.c.server.Eval(r.ctx, s, keys, args)
}

// with makes the call with one argument changed, if that argument exists.
func (r run) with(i int, arg string) (backend.Reply, error) {
	r.args = slices.Clone(r.args)
	if i < len(r.args) {
		r.args[i] = arg
	}
	return r.do()
}

// arg returns argument i, or "" if it is missing.
func (r run) arg(i int) string {
	if i < len(r.args) {
		return r.args[i]
	}
	return ""
}

// noQueue reports whether the second key holds something that is not a queue. That is a list,
// which Push stores without an expiry.
func (r run) noQueue() bool {
	if len(r.keys) < 2 {
		return false
	}
	e, _ := r.c.server.Inspect(r.ctx, r.keys[1])
	return e.Found && e.Value == "" && e.TTL == backend.NoExpiry
}

var errWrongType = backend.MarkReply(errors.New("WRONGTYPE Operation against a key holding the wrong kind of value"))

// scripts returns a function that breaks a client: calls of these scripts are replaced by broken.
func scripts(broken func(r run) (backend.Reply, error), of ...*backend.Script) func(c *client) {
	return func(c *client) {
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r := run{ctx, c, s, keys, args}
			if !slices.Contains(of, s) || ctx.Err() != nil {
				return r.do()
			}
			return broken(r)
		}
	}
}

// inspects returns a function that breaks a client: replies of inspect are changed.
func inspects(change func(r run, reply backend.Reply)) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil {
			change(r, reply)
		}
		return reply, err
	}, lua.Inspect)
}

// tickets returns the tickets in the queue, from the server that is not broken.
func (r run) tickets() (tickets []string) {
	all, _ := r.c.server.Eval(r.ctx, lua.Inspect, r.keys[:2], []string{"100"})
	for i := 4; i < len(all); i += 2 {
		tickets = append(tickets, all[i].(string))
	}
	return tickets
}

// says returns a function that breaks a client: the messages that it receives are changed.
func says(change func(next func(string), payload string)) func(c *client) {
	return func(c *client) { c.hears(change) }
}

// slots returns a function that breaks a client: each number that slots answers is changed.
func slots(change func(r run, i int, left int64) int64) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		for i := range reply {
			reply[i] = change(r, i, reply[i].(int64))
		}
		return reply, err
	}, lua.Slots)
}

// brokenQueues are nodes whose queues are broken.
var brokenQueues = []brokenNode{
	// Slots.
	{"slots says that all are taken", slots(func(_ run, _ int, left int64) int64 { return max(left, 60_000) }),
		[]string{"Eval/slots", "Eval/slots that are reserved"}},
	{"slots says that all are free", slots(func(run, int, int64) int64 { return -2 }),
		[]string{"Eval/slots", "Eval/slots that do not expire", "Eval/slots that are reserved"}},
	{"slots takes one that does not expire for a free one", slots(func(_ run, _ int, left int64) int64 {
		if left == -1 {
			return -2
		}
		return left
	}), []string{"Eval/slots that do not expire"}},
	{"slots answers for the first one alone", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		return reply[:min(1, len(reply))], err
	}, lua.Slots), []string{"Eval/slots"}},
	{"slots ignores the ticket", scripts(func(r run) (backend.Reply, error) { return r.with(0, "") }, lua.Slots),
		[]string{"Eval/slots that are reserved"}},
	{"slots takes each reserved one for a free one", slots(func(r run, i int, left int64) int64 {
		if strings.HasPrefix(r.c.value(r.keys[i]), "~") {
			return -2
		}
		return left
	}), []string{"Eval/slots that are reserved"}},
	{"slots takes the slots that it looks at", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		for _, key := range r.keys {
			r.c.server.SetNX(r.ctx, key, "slots", time.Minute)
		}
		return reply, err
	}, lua.Slots), []string{"Eval/slots"}},

	// Acquire.
	{"acquire does not show the owner", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 4 {
			reply[3] = ""
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire shows the owner", "Eval/acquire without expiry", "Eval/acquire of a reserved lock"}},
	{"acquire shows the whole token", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 4 {
			reply[3] = r.c.value(r.keys[0])
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire shows the owner"}},
	{"acquire shows the start of the token", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 4 {
			v := r.c.value(r.keys[0])
			reply[3] = v[:min(32, len(v))]
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire shows the owner"}},
	{"acquire returns only two numbers", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		return reply[:min(2, len(reply))], err
	}, lua.Acquire), []string{"Eval/acquire shows the owner", "Eval/acquire of another type"}},
	{"acquire never queues", scripts(func(r run) (backend.Reply, error) { return r.with(2, "") }, lua.Acquire), []string{
		"Eval/acquire queues", "Eval/acquire without expiry", "Eval/acquire of another type", "Eval/acquire by a dead waiter"}},
	{"acquire ignores the time waited", scripts(func(r run) (backend.Reply, error) {
		if r.arg(3) != "" {
			return r.with(3, "0")
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire queues"}},
	{"acquire loses the place of a waiter that asks again", scripts(func(r run) (backend.Reply, error) {
		if ticket := r.arg(2); ticket != "" && len(r.keys) > 1 {
			if _, err := strconv.ParseUint(r.arg(3), 10, 64); err == nil && r.c.value(r.keys[0]) != "" {
				r.also(lua.Release, "", ticket, "")
			}
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire queues"}},
	{"acquire returns the length instead of the rank", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 4 && reply[2] != int64(-1) {
			reply[2] = reply[2].(int64) + 1
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire queues"}},
	{"acquire reports a rank for a dead waiter", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) >= 4 && r.arg(2) != "" && len(r.keys) > 1 {
			reply[2] = max(reply[2].(int64), 0)
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire by a dead waiter", "Eval/acquire with a damaged queue"}},
	{"acquire does not say why it does not queue", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		return reply[:min(4, len(reply))], err
	}, lua.Acquire), []string{"Eval/acquire with a damaged queue"}},
	{"acquire accepts a bad ticket", scripts(func(r run) (backend.Reply, error) {
		if ticket, ok := strings.CutPrefix(r.arg(2), "0"); ok {
			return r.with(2, ticket)
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire by a dead waiter"}},
	{"the queue does not expire", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 3 && reply[0] == int64(1) && strings.HasSuffix(r.keys[0], "}") {
			reply[2] = int64(-1)
		}
		return reply, err
	}, lua.Inspect), []string{"Eval/acquire queues"}},
	{"acquire leaves the holder in the queue", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 2 && r.arg(2) != "" && len(r.keys) > 1 {
			r.also(lua.Rollback, "", r.arg(2), r.arg(3), "0")
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire of a free lock by a waiter", "Eval/acquire of a reserved lock"}},
	{"acquire refuses the notified waiter", scripts(func(r run) (backend.Reply, error) {
		if ticket := r.arg(2); ticket != "" && r.c.value(r.keys[0]) == "~"+ticket {
			return r.with(2, "")
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire of a reserved lock"}},
	{"acquire grants a reserved lock to any caller", scripts(func(r run) (backend.Reply, error) {
		if ticket, ok := strings.CutPrefix(r.c.value(r.keys[0]), "~"); ok && len(r.args) > 2 {
			return r.with(2, ticket)
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire of a reserved lock"}},
	{"acquire does not check its numbers", scripts(func(r run) (backend.Reply, error) {
		if ms, err := strconv.Atoi(r.arg(1)); err != nil || ms <= 0 {
			return r.with(1, "1000")
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire of bad numbers"}},
	{"acquire fails halfway", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil && r.arg(2) != "" && len(r.keys) > 1 {
			r.also(lua.Rollback, "", r.arg(2), "0", "0")
		}
		return reply, err
	}, lua.Acquire), []string{"Eval/acquire of bad numbers"}},
	{"acquire fails with a damaged queue", scripts(func(r run) (backend.Reply, error) {
		if r.noQueue() {
			return nil, errWrongType
		}
		return r.do()
	}, lua.Acquire), []string{"Eval/acquire with a damaged queue"}},

	// Release.
	{"release and rollback always report success", scripts(func(r run) (backend.Reply, error) {
		if _, err := r.do(); err != nil {
			return nil, err
		}
		return backend.Reply{int64(1)}, nil
	}, lua.Release, lua.Rollback), []string{"Eval/release", "Eval/release without a token", "Eval/release of another type",
		"Eval/rollback", "Eval/rollback of another type"}},
	{"release and rollback do nothing", scripts(func(r run) (backend.Reply, error) {
		return backend.Reply{int64(0)}, nil
	}, lua.Release, lua.Rollback), []string{"Eval/release", "Eval/rollback"}},
	{"release and rollback accept any token", scripts(func(r run) (backend.Reply, error) {
		return r.with(0, r.c.value(r.keys[0]))
	}, lua.Release, lua.Rollback), []string{"Eval/release", "Eval/release by a waiter that gives up", "Eval/rollback"}},
	{"release and rollback accept an empty token", scripts(func(r run) (backend.Reply, error) {
		if e, _ := r.c.server.Inspect(r.ctx, r.keys[0]); r.args[0] == "" && e.Found && e.Value == "" {
			r.c.server.EvalDelete(r.ctx, r.keys[0], "")
		}
		return r.do()
	}, lua.Release, lua.Rollback), []string{"Eval/release without a token", "Eval/rollback"}},
	{"release and rollback treat a list as free", scripts(func(r run) (backend.Reply, error) {
		if e, _ := r.c.server.Inspect(r.ctx, r.keys[0]); e.Found && e.Value == "" && e.TTL == backend.NoExpiry {
			r.c.server.Set(r.keys[0], "x", time.Minute)
			r.c.server.EvalDelete(r.ctx, r.keys[0], "x")
		}
		return r.do()
	}, lua.Release, lua.Rollback), []string{"Eval/release of another type", "Eval/rollback of another type"}},
	{"release only deletes", scripts(func(r run) (backend.Reply, error) {
		return r.c.FaultNode.Eval(r.ctx, lua.Delete, r.keys[:1], r.args[:1])
	}, lua.Release), []string{"Eval/release notifies", "Eval/release notifies in order", "Eval/release by a waiter that gives up",
		"Eval/release skips dead waiters", "Eval/release announces", "Eval/acquire of a reserved lock"}},
	{"release notifies without a reservation", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") {
			r.c.server.EvalDelete(r.ctx, r.keys[0], v)
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies", "Eval/release of bytes"}},
	{"release reserves forever", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") {
			r.c.server.Set(r.keys[0], v, backend.NoExpiry)
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies", "Eval/release reserves for the grace"}},
	{"release reserves for half of the grace", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") {
			r.c.server.Set(r.keys[0], v, r.c.ttl(r.keys[0])/2)
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies", "Eval/release reserves for the grace"}},
	{"release does not cap the grace", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") {
			grace, _, _ := strings.Cut(v[1:], ":")
			if ms, _ := strconv.Atoi(grace); ms > 0 { // not if somebody reads
				r.c.server.Set(r.keys[0], v, time.Duration(ms)*time.Millisecond)
			}
		}
		return reply, err
	}, lua.Release), []string{"Eval/release caps the grace", "Eval/release notifies"}},
	{"rollback reserves for a minute", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") {
			r.c.server.Set(r.keys[0], v, time.Minute)
		}
		return reply, err
	}, lua.Rollback), []string{"Eval/rollback notifies"}},
	{"release caps the grace too low", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") && r.c.ttl(r.keys[0]) > 900*time.Millisecond {
			r.c.server.Set(r.keys[0], v, 900*time.Millisecond)
		}
		return reply, err
	}, lua.Release), []string{"Eval/release caps the grace"}},
	{"waiters behind are told an uncapped grace", says(func(next func(string), payload string) {
		if lock, ok := strings.CutPrefix(payload, "n1000:"); ok {
			payload = "n99999:" + lock
		}
		next(payload)
	}), []string{"Eval/release caps the grace", "Eval/release notifies"}},
	{"release reserves for the channel only", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") {
			_, channel, _ := strings.Cut(v, ":")
			r.c.server.Set(r.keys[0], "~"+channel, time.Minute)
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies", "Eval/acquire of a reserved lock"}},
	{"release notifies the last waiter", scripts(func(r run) (backend.Reply, error) {
		all := r.tickets()
		for i := 0; i < len(all)-1 && r.c.value(r.keys[0]) == r.args[0]; i++ {
			r.also(lua.Release, "", all[i], "")
		}
		return r.do()
	}, lua.Release), []string{"Eval/release notifies", "Eval/release notifies in order"}},
	{"release leaves the notified waiter in the queue", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if ticket, ok := strings.CutPrefix(r.c.value(r.keys[0]), "~"); ok {
			r.also(lua.Rollback, "", ticket, "100000", "0")
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies"}},
	{"the notification does not name the lock", says(func(next func(string), payload string) {
		if strings.HasPrefix(payload, "g") {
			payload = "g"
		}
		next(payload)
	}), []string{"Eval/release notifies", "Eval/release of bytes"}},
	{"the notification ends at NUL", says(func(next func(string), payload string) { next(beforeNUL(payload)) }), []string{"Eval/release of bytes"}},
	{"no waiter behind is informed", says(func(next func(string), payload string) {
		if !strings.HasPrefix(payload, "n") {
			next(payload)
		}
	}), []string{"Eval/release notifies", "Eval/release notifies in order", "Eval/release informs waiters behind dead ones",
		"Eval/release skips dead waiters", "Eval/rollback notifies"}},
	{"waiters behind are not told the grace", says(func(next func(string), payload string) {
		if _, lock, ok := strings.Cut(payload, ":"); ok && strings.HasPrefix(payload, "n") {
			payload = "n20:" + lock
		}
		next(payload)
	}), []string{"Eval/release notifies"}},
	{"all waiters behind are informed", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if ticket, ok := strings.CutPrefix(r.c.value(r.keys[0]), "~"); ok {
			grace, _, _ := strings.Cut(ticket, ":")
			all := r.tickets()
			for _, behind := range all[min(2, len(all)):] {
				_, channel, _ := strings.Cut(behind, ":")
				r.c.server.Publish(channel, "n"+grace+":"+r.keys[0])
			}
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies"}},
	{"only one waiter behind is informed", scripts(func(r run) (backend.Reply, error) {
		// All waiters except the first two leave the queue during the release.
		all := r.tickets()
		hidden := all[min(2, len(all)):]
		free := r.c.value(r.keys[0]) == ""
		for _, ticket := range hidden {
			if !free {
				r.also(lua.Release, "", ticket, "")
			}
		}
		reply, err := r.do()
		for i, ticket := range hidden {
			if !free {
				r.also(lua.Rollback, "", ticket, strconv.Itoa(1000-i), "0")
			}
		}
		return reply, err
	}, lua.Release), []string{"Eval/release notifies", "Eval/release informs waiters behind dead ones"}},
	{"a waiter that gives up stays in the queue", scripts(func(r run) (backend.Reply, error) {
		if v := r.c.value(r.keys[0]); v != "~"+r.arg(1) && v != r.args[0] {
			return r.with(1, "")
		}
		return r.do()
	}, lua.Release), []string{"Eval/release by a waiter that gives up"}},
	{"a notified waiter that gives up keeps the lock", scripts(func(r run) (backend.Reply, error) {
		if r.c.value(r.keys[0]) == "~"+r.arg(1) {
			return backend.Reply{int64(0)}, nil
		}
		return r.do()
	}, lua.Release), []string{"Eval/release by a waiter that gives up"}},
	{"any waiter that gives up ends a reservation", scripts(func(r run) (backend.Reply, error) {
		if v := r.c.value(r.keys[0]); strings.HasPrefix(v, "~") && r.arg(1) != "" {
			r.also(lua.Release, "", v[1:], "")
		}
		return r.do()
	}, lua.Release), []string{"Eval/release by a waiter that gives up"}},
	{"no waiter is notified of a free lock", scripts(func(r run) (backend.Reply, error) {
		if e, _ := r.c.server.Inspect(r.ctx, r.keys[0]); !e.Found {
			return backend.Reply{int64(0)}, nil
		}
		return r.do()
	}, lua.Release), []string{"Eval/release by a waiter that gives up", "Eval/release skips dead waiters"}},
	{"release removes any number of dead waiters", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		for range 10 {
			if err == nil && r.c.value(r.keys[0]) == "" && !r.noQueue() {
				r.also(lua.Release, "")
			}
		}
		return reply, err
	}, lua.Release), []string{"Eval/release skips dead waiters"}},
	{"release does not report further dead waiters", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		return reply[:min(1, len(reply))], err
	}, lua.Release), []string{"Eval/release skips dead waiters"}},
	{"release does not announce", scripts(func(r run) (backend.Reply, error) { return r.with(2, "") }, lua.Release), []string{"Eval/release announces"}},
	{"release announces without releasing", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if len(reply) == 1 && reply[0] == int64(0) && r.arg(2) != "" {
			r.c.server.Publish(r.arg(2), "ok")
		}
		return reply, err
	}, lua.Release), []string{"Eval/release announces"}},
	{"release announces another message", says(func(next func(string), payload string) {
		next(strings.Replace(payload, "ok", "OK", 1))
	}), []string{"Eval/release announces"}},
	{"release and rollback keep the lock if the queue is damaged", scripts(func(r run) (backend.Reply, error) {
		if r.noQueue() {
			return nil, errWrongType
		}
		return r.do()
	}, lua.Release, lua.Rollback), []string{"Eval/release with a damaged queue", "Eval/rollback with a damaged queue"}},

	// Rollback.
	{"rollback does not queue", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil && r.arg(1) != "" {
			r.also(lua.Release, "not a token", r.arg(1), "")
		}
		return reply, err
	}, lua.Rollback), []string{"Eval/rollback queues", "Eval/rollback notifies"}},
	{"rollback queues at the end", scripts(func(r run) (backend.Reply, error) {
		if r.arg(2) != "" {
			return r.with(2, "0")
		}
		return r.do()
	}, lua.Rollback), []string{"Eval/rollback queues"}},
	{"rollback always notifies", scripts(func(r run) (backend.Reply, error) { return r.with(3, "1") }, lua.Rollback), []string{"Eval/rollback queues"}},
	{"rollback never notifies", scripts(func(r run) (backend.Reply, error) { return r.with(3, "0") }, lua.Rollback), []string{"Eval/rollback notifies"}},
	{"rollback notifies its own waiter", scripts(func(r run) (backend.Reply, error) {
		if ticket := r.arg(1); ticket != "" && r.arg(3) == "1" && r.c.value(r.keys[0]) == r.args[0] {
			r.also(lua.Rollback, "", ticket, r.arg(2), "0")
			r.script, r.args = lua.Release, r.args[:1]
		}
		return r.do()
	}, lua.Rollback), []string{"Eval/rollback notifies"}},
	{"rollback fails halfway", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil {
			r.also(lua.Delete, r.args[0])
		}
		return reply, err
	}, lua.Rollback), []string{"Eval/rollback of bad numbers"}},

	// Echo.
	{"echo does not publish", scripts(func(r run) (backend.Reply, error) { return backend.Reply{int64(1)}, nil }, lua.Echo), []string{"Eval/echo"}},
	{"echo publishes another message", scripts(func(r run) (backend.Reply, error) { return r.with(1, "echo") }, lua.Echo), []string{"Eval/echo"}},
	{"echo counts a subscriber that does not exist", scripts(func(r run) (backend.Reply, error) {
		_, err := r.do()
		return backend.Reply{int64(1)}, err
	}, lua.Echo), []string{"Eval/echo"}},

	// Inspect.
	{"inspect shows seconds", inspects(func(r run, reply backend.Reply) {
		reply[2] = reply[2].(int64) / 1000
	}), []string{"Eval/inspect of a held lock"}},
	{"inspect deletes", inspects(func(r run, reply backend.Reply) {
		r.also(lua.Delete, reply[1].(string))
	}), []string{"Eval/inspect of a held lock"}},
	{"inspect finds a missing key", inspects(func(_ run, reply backend.Reply) {
		reply[0] = int64(1)
	}), []string{"Eval/inspect of a free lock"}},
	{"inspect hides that a lock has no expiry", inspects(func(_ run, reply backend.Reply) {
		reply[2] = max(reply[2].(int64), 0)
	}), []string{"Eval/inspect of a lock without expiry"}},
	{"inspect of another type is an error", scripts(func(r run) (backend.Reply, error) {
		if r.isList(r.keys[0]) {
			return nil, errWrongType
		}
		return r.do()
	}, lua.Inspect), []string{"Eval/inspect of another type"}},
	{"inspect counts one waiter too many", inspects(func(_ run, reply backend.Reply) {
		if len(reply) > 3 {
			reply[3] = reply[3].(int64) + 1
		}
	}), []string{"Eval/inspect of a queue", "Eval/inspect of a damaged queue"}},
	{"inspect shows all waiters", scripts(func(r run) (backend.Reply, error) {
		if _, err := strconv.ParseUint(r.arg(0), 10, 64); err == nil {
			return r.with(0, "100")
		}
		return r.do()
	}, lua.Inspect), []string{"Eval/inspect of a queue"}},
	{"inspect shows the last waiter first", inspects(func(_ run, reply backend.Reply) {
		for i, j := 4, len(reply)-2; i < j; i, j = i+2, j-2 {
			reply[i], reply[j] = reply[j], reply[i]
		}
	}), []string{"Eval/inspect of a queue", "Eval/acquire queues"}},
	{"inspect returns no times", inspects(func(_ run, reply backend.Reply) {
		for i := 5; i < len(reply); i += 2 {
			reply[i] = int64(-1)
		}
	}), []string{"Eval/inspect of a queue"}},
	{"inspect returns seconds waited", inspects(func(_ run, reply backend.Reply) {
		for i := 5; i < len(reply); i += 2 {
			reply[i] = reply[i].(int64) / 1000
		}
	}), []string{"Eval/inspect of a queue"}},
	{"inspect of a damaged queue is an error", scripts(func(r run) (backend.Reply, error) {
		if r.noQueue() {
			return nil, errWrongType
		}
		return r.do()
	}, lua.Inspect), []string{"Eval/inspect of a damaged queue"}},
	{"inspect of a queue that is a lock is an error", scripts(func(r run) (backend.Reply, error) {
		if len(r.keys) > 1 && r.keys[0] == r.keys[1] {
			return nil, errWrongType
		}
		return r.do()
	}, lua.Inspect), []string{"Eval/inspect of a damaged queue"}},
}
