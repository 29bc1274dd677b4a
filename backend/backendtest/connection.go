package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func lostReplyChecks() []check {
	var all []check
	for _, o := range operations() {
		if o.effect == nil { // nothing that could be done twice
			continue
		}
		all = append(all, check{
			name: "lost reply/" + o.name,
			why:  "a write that is sent again can apply twice; the core alone knows what is safe to repeat, and it must learn that the outcome is unknown",
			run: func(t *trial) {
				t.need(t.h.LoseReplies != nil, "LoseReplies")
				o.available(t)
				// Once beforehand, so that the scripts are known and a
				// connection is there.
				key, token := t.name(), t.name()
				o.prepare(t, key, token)
				ctx, cancel := context.WithTimeout(t.ctx, call)
				if err := o.do(t, ctx, key, token); err != nil {
					t.failf("%s failed, before any reply was lost: %w", o.name, err)
				}
				cancel()

				key, token = t.name(), t.name()
				o.prepare(t, key, token)
				arrived, restore, err := t.h.LoseReplies(t.ctx, t.n)
				if err != nil {
					t.failf("the harness cannot LoseReplies: %w", err)
				}
				ctx, cancel = context.WithTimeout(t.ctx, time.Second)
				err = o.do(t, ctx, key, token)
				cancel()
				n := arrived()
				restore()
				if err == nil {
					t.failf("%s, whose reply was lost, has no error", o.name)
				}
				if backend.NotExecuted(err) {
					t.failf("%s was executed, its reply was lost, and its error says that it was not executed: %w", o.name, err)
				}
				if n > o.commands {
					t.failf("%s, whose reply was lost, was sent again: %d commands arrived, want %d", o.name, n, o.commands)
				}
				if n == 0 {
					t.failf("%s was not sent, or the harness does not count: no command arrived", o.name)
				}
				t.answers()
				if o.name != "Extend" && !o.effect(t, key, token) {
					t.failf("%s, whose reply was lost, has not been executed, or the harness did not let it be", o.name)
				}
			},
		})
	}
	return all
}

func disconnectChecks() []check {
	return []check{{
		name: "broken connection/recovers",
		why:  "a server that restarts, or a network that drops a connection, must cost no more than the calls that were under way",
		run: func(t *trial) {
			t.need(t.h.Disconnect != nil, "Disconnect")
			key, token := t.name(), t.name()
			t.setNX(key, token, long, true, "a free key")
			if err := t.h.Disconnect(t.ctx, t.n); err != nil {
				t.failf("the harness cannot Disconnect: %w", err)
			}
			t.answers()
			t.setNX(key, t.name(), long, false, "a key that another token holds, after the connection broke")
			t.extend(key, token, long, true, "a key by its holder, after the connection broke")
			t.evalDelete(key, token, true, "a key by its holder, after the connection broke")
		},
	}}
}
