package backendtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func lostReplyChecks() []rule {
	var all []rule
	for _, o := range operations() {
		if o.effect == nil { // there is nothing that could be done twice
			continue
		}
		all = append(all, rule{
			name:  "lost reply/" + o.name,
			needs: o.needs,
			why:   "a write that is sent again can take effect twice; only the core knows what is safe to repeat, and it must learn that the outcome is unknown",
			run: func(t *trial) {
				t.Need(t.h.LoseReplies != nil, "LoseReplies")
				// A first call, so that the scripts are known and a connection is open.
				key, token := t.Name(), t.Name()
				o.prepare(t, key, token)
				ctx, cancel := context.WithTimeout(t.Ctx, call)
				if err := o.do(t, ctx, key, token); err != nil {
					t.Failf("%s failed, before any reply was lost: %w", o.name, err)
				}
				cancel()

				key, token = t.Name(), t.Name()
				o.prepare(t, key, token)
				t.heals()
				arrived, restore, err := t.h.LoseReplies(t.Ctx, t.Node)
				if err != nil {
					t.Failf("the harness cannot LoseReplies: %w", err)
				}
				restore = sync.OnceFunc(restore)
				t.Defer(restore)
				ctx, cancel = context.WithTimeout(t.Ctx, time.Second)
				err = o.do(t, ctx, key, token)
				cancel()
				n := arrived()
				restore()
				if err == nil {
					t.Failf("%s, whose reply should be lost, has no error: LoseReplies of the harness loses no reply, or the node invented one", o.name)
				}
				if backend.NotExecuted(err) {
					t.Failf("%s was executed, its reply was lost, and its error says that it was not executed: %w", o.name, err)
				}
				if n > o.commands {
					t.Failf("%s, whose reply was lost, was sent again: %d commands arrived, want %d", o.name, n, o.commands)
				}
				if n == 0 {
					t.Failf("%s was not sent, or the harness does not count: no command arrived", o.name)
				}
				t.answers()
				if o.name != "Extend" && !o.effect(t, key, token) {
					t.Failf("%s, whose reply was lost, was not executed, or LoseReplies of the harness prevented that", o.name)
				}
			},
		})
	}
	return all
}

func disconnectChecks() []rule {
	return []rule{{
		name: "broken connection/recovers",
		why:  "a restarted server or a broken connection must cost no more than the calls that were under way",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.disconnect()
			t.answers()
			t.SetNX(key, t.Name(), long, false, "a key that another token holds, after the connection broke")
			t.Extend(key, token, long, true, "a key by its holder, after the connection broke")
			t.EvalDelete(key, token, true, "a key by its holder, after the connection broke")
		},
	}, {
		name:  "broken connection/under way",
		needs: []string{"Stall"},
		why:   "a call whose connection broke will get no reply; if it returns in time, the core can repeat it where that is safe",
		run: func(t *trial) {
			resume := t.stall()
			late, err := t.Within(patience, func(ctx context.Context) error {
				// until the call is under way
				broken := make(chan struct{})
				timer := time.AfterFunc(50*time.Millisecond, func() {
					defer close(broken)
					t.Protect(t.disconnect)
				})
				defer func() {
					if !timer.Stop() {
						<-broken
					}
				}()
				_, err := t.Node.SetNX(ctx, t.Name(), t.Name(), long)
				return err
			})
			resume()
			if err == nil || errors.Is(err, context.DeadlineExceeded) || late > -patience/2 {
				t.Failf("SetNX, whose connection broke while the server was stopped, returned %v later with the error %v, want an error at once: "+
					"Disconnect of the harness breaks no connection, or the node does not notice it, or sends again", late+patience-50*time.Millisecond, err)
			}
		},
	}}
}
