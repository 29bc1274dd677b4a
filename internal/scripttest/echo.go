package scripttest

import "github.com/quorumlock/quorumlock/backend/lua"

func echoChecks() []rule {
	return []rule{{
		name:  "Eval/echo",
		needs: []string{"Subscriber"},
		why:   "a waiter must know whether notifications reach it, or it sleeps on a free lock",
		run: func(t *trial) {
			q := t.queue()
			a, b := q.waiter(20), q.waiter(20)
			t.Answer(q.eval(lua.Echo, a.channel, "e"), "echo to a channel with a subscriber", 1)
			t.Answer(q.eval(lua.Echo, t.Name(), "e"), "echo to a channel without a subscriber", 0)
			q.take()
			t.Answer(t.EvalKeys(lua.Echo, []string{q.lock}, a.channel, "another"), "echo with the key of a held lock", 1)
			q.receivesOnly(a, "e", "another")
			q.receivesOnly(b)
		},
	}}
}
