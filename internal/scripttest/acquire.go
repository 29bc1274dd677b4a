package scripttest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// owner returns the part of a lock's value that a refusal contains.
func owner(value string) string { return value[max(0, len(value)-32):] }

// refused fails the check unless r is {0, a time to live, -1, owner}.
func (t *trial) refused(r backend.Reply, what, owner string) {
	if n, err := r.Int(0); err != nil || n != 0 || len(r) != 4 || r[2] != int64(-1) || r[3] != owner {
		t.Failf("%s answers %v, want {0, its time to live, -1, %q}", what, check.Brief(r), owner)
	}
}

func acquireChecks() []rule {
	const ms = 60_000
	ttl := strconv.Itoa(ms)
	return []rule{{
		name: "Eval/acquire",
		why:  "an acquire that is sent again after its reply was lost must find its own lock, and no other's",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.Name(), t.Name()
			t.Answer(t.Eval(lua.Acquire, key, token, ttl), "acquire of a free key", 1, ms)
			t.Left(t.Eval(lua.Acquire, key, token, "600000"), "acquire of a key that the same token holds", 1, ms)
			r := t.Eval(lua.Acquire, key, t.Name(), "600000")
			t.Left(r[:min(2, len(r))], "acquire of a key that another token holds", 0, ms)
			t.EvalDelete(key, token, true, "a key by its holder, after an acquire by another")
		},
	}, {
		name: "Eval/acquire shows the owner",
		why:  "a waiter must know whether the nodes have one owner; the whole token would be the right to unlock",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			for _, token := range []string{"short", strings.Repeat("a", 32), "b" + strings.Repeat("a", 32), "label:\x00\xff" + strings.Repeat("\x00\xff", 20)} {
				key := t.Name()
				t.SetNX(key, token, long, true, "a free key")
				t.refused(t.Eval(lua.Acquire, key, t.Name(), ttl), "acquire of a key that "+check.Quote(token)+" holds", owner(token))
			}
		},
	}, {
		name:  "Eval/acquire without expiry",
		needs: []string{"Set", "Subscriber"},
		why:   "a lock that never expires is also held, and must not seem to have a time to live",
		run: func(t *trial) {
			q := t.queue()
			token := t.Name()
			t.Set(q.lock, token, backend.NoExpiry)
			t.Answer(t.Eval(lua.Acquire, q.lock, token, ttl), "acquire of a key without an expiry, by its holder", 1, -1)
			r := t.Eval(lua.Acquire, q.lock, t.Name(), ttl)
			if want := (backend.Reply{int64(0), int64(-1), int64(-1), owner(token)}); !slices.Equal(r, want) {
				t.Failf("acquire of a key without an expiry that another token holds answers %v, want %v", check.Brief(r), check.Brief(want))
			}
			w := q.waiter(ms)
			r = q.eval(lua.Acquire, t.Name(), ttl, w.ticket, "0")
			if want := (backend.Reply{int64(0), int64(-1), int64(0), owner(token)}); !slices.Equal(r, want) {
				t.Failf("acquire of a key without an expiry, by a waiter, answers %v, want %v", check.Brief(r), check.Brief(want))
			}
		},
	}, {
		name:  "Eval/acquire of another type",
		needs: []string{"SetOther", "Subscriber"},
		why:   "a key that holds no token is also held, and callers may wait for it",
		run: func(t *trial) {
			q := t.queue()
			t.SetOther(q.lock)
			t.refused(t.Eval(lua.Acquire, q.lock, t.Name(), ttl), "acquire of a key of another type", "")
			q.waits(q.waiter(ms), 0, 0, "for a key of another type")
		},
	}, {
		name:  "Eval/acquire of bad numbers",
		needs: []string{"Subscriber"},
		why:   "a script that fails halfway has written something: it must check its arguments before it writes",
		run: func(t *trial) {
			q := t.queue()
			keys := []string{q.lock, q.name}
			w := q.waiter(ms)
			for _, bad := range []string{"", "0", "-1", "1.5", "soon", "99999999999999999999"} {
				q.fails(lua.Acquire, keys[:1], t.Name(), bad)
				q.fails(lua.Acquire, keys, t.Name(), bad, w.ticket, "0")
				q.free("after an acquire for the time " + bad)
			}
			token := q.take()
			for _, bad := range badNumbers() {
				q.fails(lua.Acquire, keys, t.Name(), ttl, w.ticket, bad)
			}
			q.inQueue("after acquires that failed")
			q.holds(token, long, "after acquires that failed")
		},
	}, {
		name:  "Eval/acquire queues",
		needs: []string{"Subscriber"},
		why:   "the first waiter gets the lock first, and keeps its place when it asks again",
		run: func(t *trial) {
			q := t.queue()
			q.take()
			a, b, c := q.waiter(ms), q.waiter(ms), q.waiter(ms)
			q.waits(a, 0, 0, "the first one")
			t.Wait(2 * time.Millisecond)
			q.waits(b, 0, 1, "the second one")
			q.waits(c, 1_000_000, 0, "the third one, which has waited longest")
			q.waits(a, 0, 1, "the first one, again")
			q.waits(b, 2_000_000, 2, "the second one, again, with another time")
			q.inQueue("after three waiters have asked", c, a, b)
			q.turnsAway("", "without a ticket", "")
			q.inQueue("after an acquire without a ticket", c, a, b)
			r := t.Eval(lua.Inspect, q.name)
			const life = 10 * time.Minute
			if left, err := r.Int(2); err != nil || left > life.Milliseconds() || left < (life-call).Milliseconds() {
				t.Failf("inspect of the queue answers %v, want {1, \"\", about %d}: dead waiters must not stay in it forever", check.Brief(r), life.Milliseconds())
			}
		},
	}, {
		name:  "Eval/acquire of a free lock by a waiter",
		needs: []string{"Subscriber"},
		why:   "the holder no longer waits: otherwise the next release would notify it",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b := q.waiter(ms), q.waiter(ms)
			q.waits(a, 2000, 0, "the first one")
			q.waits(b, 1000, 1, "the second one")
			t.EvalDelete(q.lock, token, true, "a key by its holder")
			token = t.Name()
			t.Answer(q.eval(lua.Acquire, token, ttl, a.ticket, "2000"), "acquire of a free key by a waiter", 1, ms)
			q.inQueue("after the first one has the lock", b)
			q.holds(token, long, "after a waiter acquired it")
		},
	}, {
		name:  "Eval/acquire of a reserved lock",
		needs: []string{"Subscriber"},
		why:   "only the notified waiter may get the lock",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b := q.waiter(ms), q.waiter(ms)
			q.waits(a, 2000, 0, "the first one")
			q.waits(b, 1000, 1, "the second one")
			t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
			q.reserved(a, "after the release")
			for _, ticket := range []string{"", b.ticket, "1" + a.ticket, a.ticket + "\x00"} {
				r := q.eval(lua.Acquire, t.Name(), ttl, ticket, "0")
				if len(r) != 4 || r[0] != int64(0) || r[3] != owner("~"+a.ticket) {
					t.Failf("acquire of a lock that is reserved for another waiter answers %v, want {0, its time to live, a rank, %q}", check.Brief(r), owner("~"+a.ticket))
				}
			}
			t.refused(t.Eval(lua.Acquire, q.lock, t.Name(), ttl), "acquire of a lock that is reserved", owner("~"+a.ticket))
			q.staysReserved(a, "after refusals of others")
			token = t.Name()
			t.Answer(q.eval(lua.Acquire, token, ttl, a.ticket, "2000"), "acquire by the notified waiter", 1, ms)
			q.holds(token, long, "after the notified waiter acquired it")
			q.inQueue("after the first one has the lock", b)
		},
	}, {
		name:  "Eval/acquire by a dead waiter",
		needs: []string{"Subscriber"},
		why:   "a waiter that cannot be notified delays the waiters behind it; it must learn that it is not queued",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			w := q.waiter(ms)
			for _, ticket := range badTickets(w.channel) {
				q.turnsAway(ticket, "which is invalid", "")
			}
			q.waits(w, 0, 0, "whose inbox is open")
			q.leaves(w)
			q.turnsAway("20:"+w.channel, "whose inbox is closed", "")
			q.inQueue("after tickets of dead waiters", w) // it was queued before
			t.refused(t.EvalKeys(lua.Acquire, []string{q.lock}, t.Name(), ttl, w.ticket, "0"), "acquire with a ticket and without a queue", owner(token))
		},
	}, {
		name:  "Eval/acquire with a damaged queue",
		needs: []string{"SetOther", "Subscriber"},
		why:   "a damaged queue must not prevent the acquisition of the lock",
		run: func(t *trial) {
			q := t.queue()
			w := q.waiter(ms)
			q.spoil()
			token := t.Name()
			t.Answer(q.eval(lua.Acquire, token, ttl, w.ticket, "0"), "acquire of a free key, by a waiter, with a list as the queue", 1, ms)
			q.turnsAway(w.ticket, "with a list as the queue", "ZADD")
			q.holds(token, long, "with a list as the queue")
		},
	}}
}
