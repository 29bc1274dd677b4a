package scripttest

import "github.com/quorumlock/quorumlock/backend/lua"

func rollbackChecks() []rule {
	const ms = 60_000
	return []rule{{
		name: "Eval/rollback",
		why:  "a failed attempt must leave nothing behind, and must not delete another holder's lock",
		run: func(t *trial) {
			for _, call := range []string{"0", "1"} {
				q := t.queue()
				token := t.Name()
				t.Answer(q.eval(lua.Rollback, token, "", "0", call), "rollback of a key that does not exist", 0)
				q.free("after a rollback by another")
				t.SetNX(q.lock, token, long, true, "a free key")
				for _, other := range []string{t.Name(), "", token + "\x00", "~" + token} {
					t.Answer(q.eval(lua.Rollback, other, "", "0", call), "rollback of a key that another token holds", 0)
				}
				q.holds(token, long, "after rollbacks by others")
				t.Answer(q.eval(lua.Rollback, token, "", "0", call), "rollback of a key by its holder", 1)
				q.free("after its rollback")

				t.SetNX(q.lock, "", long, true, "a free key, with the empty token")
				t.Answer(q.eval(lua.Rollback, "", "", "0", call), "rollback without a token of a key that is empty", 0)
				q.holds("", long, "after a rollback without a token")
			}
		},
	}, {
		name:  "Eval/rollback of another type",
		needs: []string{"SetOther"},
		why:   "a key that does not hold a token belongs to another program",
		run: func(t *trial) {
			q := t.queue()
			t.SetOther(q.lock)
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(q.eval(lua.Rollback, token, "", "0", "1"), "rollback of a key of another type", 0)
			}
			t.SetNX(q.lock, t.Name(), long, false, "a key of another type, after refused rollbacks")
		},
	}, {
		name:  "Eval/rollback of bad numbers",
		needs: []string{"Subscriber"},
		why:   "a script that fails halfway has written something: it must check its arguments before it writes",
		run: func(t *trial) {
			q := t.queue()
			w := q.waiter(ms)
			token := q.take()
			for _, bad := range badNumbers() {
				for _, call := range []string{"0", "1"} {
					q.fails(lua.Rollback, []string{q.lock, q.name}, token, w.ticket, bad, call)
				}
			}
			q.holds(token, long, "after rollbacks that failed")
			q.inQueue("after rollbacks that failed")
		},
	}, {
		name:  "Eval/rollback queues",
		needs: []string{"Subscriber"},
		why:   "after a failed attempt the waiter keeps its place; otherwise the lock becomes free while it sleeps",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c := q.waiter(ms), q.waiter(ms), q.waiter(ms)
			q.waits(b, 10_000, 0, "the first one")
			t.Answer(q.eval(lua.Rollback, token, a.ticket, "20000", "0"), "rollback of a key by its holder", 1)
			q.free("after a rollback without a notification")
			q.inQueue("after the rollback of a waiter that has waited longer", a, b)
			token = q.take()
			t.Answer(q.eval(lua.Rollback, t.Name(), c.ticket, "15000", "1"), "rollback of a key that another token holds", 0)
			q.holds(token, long, "after a rollback by another")
			q.inQueue("after the rollback of a waiter in between", a, c, b)
			t.Answer(q.eval(lua.Rollback, token, c.ticket, "0", "0"), "rollback by a queued waiter", 1)
			q.inQueue("after a rollback by a queued waiter", a, c, b)
			q.leaves(b)
			q.leaves(c)
			last := t.queue()
			token = last.take()
			t.Answer(last.eval(lua.Rollback, token, c.ticket, "0", "0"), "rollback by a waiter whose inbox is closed", 1)
			last.inQueue("after a rollback by a waiter whose inbox is closed")
			q.receivesOnly(a)
		},
	}, {
		name:  "Eval/rollback notifies",
		needs: []string{"Subscriber"},
		why:   "others may sleep because of this attempt's lock, and a waiter that notifies itself wakes nobody",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c := q.waiter(ms), q.waiter(ms+1), q.waiter(ms+2)
			q.waits(a, 30_000, 0, "the first one")
			q.waits(b, 20_000, 1, "the second one")
			q.waits(c, 10_000, 2, "the third one")
			t.Answer(q.eval(lua.Rollback, token, a.ticket, "30000", "1"), "rollback with a notification", 1)
			q.reserved(b, "after the first one's rollback with a notification")
			q.inQueue("after the first one's rollback with a notification", a, c)

			alone := t.queue()
			token = alone.take()
			t.Answer(alone.eval(lua.Rollback, token, a.ticket, "0", "1"), "rollback with a notification, by the only waiter", 1)
			alone.free("after a rollback with a notification, by the only waiter")
			alone.inQueue("after a rollback with a notification, by the only waiter", a)

			q.receivesOnly(a)
			q.receivesOnly(b, q.call())
			q.receivesOnly(c, q.next(b))
		},
	}, {
		name:  "Eval/rollback with a damaged queue",
		needs: []string{"SetOther", "Subscriber"},
		why:   "a damaged queue must not prevent the release of the lock",
		run: func(t *trial) {
			q := t.queue()
			w := q.waiter(ms)
			q.spoil()
			for _, call := range []string{"0", "1"} {
				token := q.take()
				t.Answer(q.eval(lua.Rollback, token, w.ticket, "0", call), "rollback by its holder, with a list as the queue", 1)
				q.free("after the rollback, with a list as the queue")
			}
		},
	}}
}
