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
			t.Answer(q.eval(lua.Echo, a.channel, "e"), "echo to a channel that somebody listens to", 1)
			t.Answer(q.eval(lua.Echo, t.Name(), "e"), "echo to a channel that nobody listens to", 0)
			q.take()
			t.Answer(t.EvalKeys(lua.Echo, []string{q.lock}, a.channel, "another"), "echo beside a lock that is held", 1)
			q.hearsOnly(a, "e", "another")
			q.hearsOnly(b)
		},
	}}
}
