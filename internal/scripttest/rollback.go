package scripttest

import "github.com/quorumlock/quorumlock/backend/lua"

func rollbackChecks() []rule {
	const ms = 60_000
	return []rule{{
		name: "Eval/rollback",
		why:  "a try that lost must leave nothing behind, and nobody else's lock may go",
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
		why:   "a key that holds anything but a token is somebody else's",
		run: func(t *trial) {
			q := t.queue()
			t.SetOther(q.lock)
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(q.eval(lua.Rollback, token, "", "0", "1"), "rollback of a key that holds no string", 0)
			}
			t.SetNX(q.lock, t.Name(), long, false, "a key that holds no string, after rollbacks in vain")
		},
	}, {
		name:  "Eval/rollback of bad numbers",
		needs: []string{"Subscriber"},
		why:   "a script that fails half way leaves its first half: it must look at its arguments before it writes",
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
			q.stand("after rollbacks that failed")
		},
	}, {
		name:  "Eval/rollback queues",
		needs: []string{"Subscriber"},
		why:   "who lost a try goes on waiting where he stood, or the lock is freed and he sleeps on",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c := q.waiter(ms), q.waiter(ms), q.waiter(ms)
			q.waits(b, 10_000, 0, "the first one")
			t.Answer(q.eval(lua.Rollback, token, a.ticket, "20000", "0"), "rollback of a key by its holder", 1)
			q.free("after a rollback without a call")
			q.stand("after the rollback of one who has waited for longer", a, b)
			token = q.take()
			t.Answer(q.eval(lua.Rollback, t.Name(), c.ticket, "15000", "1"), "rollback of a key that another token holds", 0)
			q.holds(token, long, "after a rollback by another")
			q.stand("after a rollback by one in between", a, c, b)
			t.Answer(q.eval(lua.Rollback, token, c.ticket, "0", "0"), "rollback by one who stands in the queue", 1)
			q.stand("after a rollback by one who stood in the queue", a, c, b)
			q.leaves(b)
			q.leaves(c)
			last := t.queue()
			token = last.take()
			t.Answer(last.eval(lua.Rollback, token, c.ticket, "0", "0"), "rollback by one whose inbox is not heard", 1)
			last.stand("after a rollback by one whose inbox is not heard")
			q.hearsOnly(a)
		},
	}, {
		name:  "Eval/rollback calls",
		needs: []string{"Subscriber"},
		why:   "others may have gone to sleep on this try's lock; and one that calls itself wakes nobody",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c := q.waiter(ms), q.waiter(ms+1), q.waiter(ms+2)
			q.waits(a, 30_000, 0, "the first one")
			q.waits(b, 20_000, 1, "the second one")
			q.waits(c, 10_000, 2, "the third one")
			t.Answer(q.eval(lua.Rollback, token, a.ticket, "30000", "1"), "rollback with a call", 1)
			q.reserved(b, "after the first one's rollback with a call")
			q.stand("after the first one's rollback with a call", a, c)

			alone := t.queue()
			token = alone.take()
			t.Answer(alone.eval(lua.Rollback, token, a.ticket, "0", "1"), "rollback with a call, by the only one", 1)
			alone.free("after a rollback with a call, by the only one")
			alone.stand("after a rollback with a call, by the only one", a)

			q.hearsOnly(a)
			q.hearsOnly(b, q.call())
			q.hearsOnly(c, q.next(b))
		},
	}, {
		name:  "Eval/rollback beside no queue",
		needs: []string{"SetOther", "Subscriber"},
		why:   "what is wrong with the queue must not keep the lock from being released",
		run: func(t *trial) {
			q := t.queue()
			w := q.waiter(ms)
			q.spoil()
			for _, call := range []string{"0", "1"} {
				token := q.take()
				t.Answer(q.eval(lua.Rollback, token, w.ticket, "0", call), "rollback by its holder, with a list for a queue", 1)
				q.free("after its rollback, with a list for a queue")
			}
		},
	}}
}
