package backendtest

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func endedChecks() []rule {
	var all []rule
	for _, o := range operations() {
		all = append(all, rule{
			name:  "ended ctx/" + o.name,
			needs: o.needs,
			why:   "a caller that has given up must not acquire, extend or release a lock, and must learn that nothing was done",
			run: func(t *trial) {
				cancelled, cancel := context.WithCancel(t.Ctx)
				cancel()
				late, cancel := context.WithDeadline(t.Ctx, time.Now().Add(-time.Second))
				defer cancel()
				for _, ctx := range []context.Context{cancelled, late} {
					key, token := t.Name(), t.Name()
					o.prepare(t, key, token)
					err := o.do(t, ctx, key, token)
					if !errors.Is(err, ctx.Err()) {
						t.Failf("%s with a ctx that has ended has the error %v, want one that matches %v", o.name, err, ctx.Err())
					}
					if o.effect != nil && !backend.NotExecuted(err) {
						t.Failf("%s with a ctx that has ended has an error that does not say that nothing was executed: %w", o.name, err)
					}
					o.unharmed(t, key, token)
				}
			},
		})
	}
	return all
}

func stalledChecks() []rule {
	const budget = 100 * time.Millisecond
	const why = "the core waits no longer than its deadline, and must distinguish a slow node from one that refuses"
	var all []rule
	for _, o := range operations() {
		all = append(all, rule{
			name:  "stalled server/" + o.name,
			needs: o.needs,
			why:   why,
			run: func(t *trial) {
				t.Need(t.h.Stall != nil, "Stall")
				var late time.Duration
				for range attempts {
					key, token := t.Name(), t.Name()
					o.prepare(t, key, token)
					resume := t.stall()
					var err error
					late, err = t.Within(budget, func(ctx context.Context) error { return o.do(t, ctx, key, token) })
					resume()
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Failf("%s on a server that does not answer ended with the error %v, want one that matches %v", o.name, err, context.DeadlineExceeded)
					}
					if backend.NotExecuted(err) {
						o.unharmed(t, key, token)
					}
					if late <= callSlack {
						return
					}
				}
				t.Failf("%s on a server that does not answer returned %v after its deadline each time", o.name, late)
			},
		})
	}
	return append(all, rule{
		name: "stalled server/many at once",
		why:  "a pool without free connections is no reason to wait longer",
		run: func(t *trial) {
			t.Need(t.h.Stall != nil, "Stall")
			var late time.Duration
			for range attempts {
				keys := make([]string, 4*crowd)
				for i := range keys {
					keys[i] = t.Name()
				}
				resume := t.stall()
				late, _ = t.Within(budget, func(ctx context.Context) error {
					t.Parallel(len(keys), func(i int) {
						_, err := t.Node.SetNX(ctx, keys[i], keys[i], long)
						if err == nil {
							t.Failf("SetNX on a server that does not answer has no error, or Stall of the harness does not stop it")
						}
						if !errors.Is(err, context.DeadlineExceeded) && !backend.NotExecuted(err) {
							t.Failf("one of many SetNX on a server that does not answer ended with the error %w, "+
								"want one that matches %v, or says that nothing was executed", err, context.DeadlineExceeded)
						}
					})
					return nil
				})
				resume()
				t.answers()
				if late <= 2*callSlack {
					return
				}
			}
			t.Failf("one of many SetNX on a server that does not answer returned %v after its deadline each time", late)
		},
	}, rule{
		name: "stalled server/recovers",
		why:  "a server that answers again must be usable again, and a late reply must not count as the reply to another call",
		run: func(t *trial) {
			held, token := t.Name(), t.Name()
			t.SetNX(held, token, long, true, "a free key")
			resume := t.stall()
			for range crowd {
				key := t.Name()
				t.Within(5*time.Millisecond, func(ctx context.Context) error {
					if ok, err := t.Node.SetNX(ctx, key, token, long); err == nil {
						t.Failf("SetNX on a server that does not answer = %v, or Stall of the harness does not stop it", ok)
					}
					return nil
				})
			}
			resume()
			t.answers()
			for range crowd {
				t.SetNX(held, t.Name(), long, false, "a key that another token holds, after the server came back")
				t.Extend(held, token, long, true, "a key by its holder, after the server came back")
			}
			t.EvalDelete(held, token, true, "a key by its holder, after the server came back")
		},
	})
}

func slowDialChecks() []rule {
	const setup = 80 * time.Millisecond
	// slow makes the node. It returns a function that waits until the node answers, and fails the
	// check if that was too soon for such a slow connection. A driver may connect before its
	// first call.
	slow := func(t *trial) (answers func()) {
		t.Need(t.h.SlowDial != nil, "SlowDial")
		began := time.Now()
		t.Node = t.Open(func(ctx context.Context) (backend.Node, func(), error) { return t.h.SlowDial(ctx, setup) })
		return func() {
			t.answers()
			if took := time.Since(began); took < setup*9/10 {
				t.Failf("the node answered after %v, although its connection takes %v: SlowDial of the harness slows nothing down", took, setup)
			}
		}
	}
	return []rule{{
		name: "slow connection/deadline",
		why:  "the setup of a connection is part of the call, and the core waits no longer than its deadline",
		run: func(t *trial) {
			const budget = setup / 4
			var late time.Duration
			for range attempts {
				answers := slow(t)
				var err error
				late, err = t.Within(budget, func(ctx context.Context) error {
					_, err := t.Node.SetNX(ctx, t.Name(), t.Name(), long)
					return err
				})
				// A driver that connects before its first call returns no error, or an early one
				// if that connection was lost.
				if late >= 0 && err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Failf("SetNX, with no time to connect, ended with the error %w, want one that matches %v", err, context.DeadlineExceeded)
				}
				answers()
				if late <= callSlack {
					return
				}
			}
			t.Failf("SetNX, with no time to connect, returned %v after its deadline each time", late)
		},
	}, {
		name: "slow connection/time enough",
		why:  "a call with enough time must connect; otherwise a node behind a slow network is never reached",
		run: func(t *trial) {
			slow(t)()
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key, over a connection that was set up slowly,")
			t.EvalDelete(key, token, true, "a key by its holder")
		},
	}, {
		name: "slow connection/after a time-out",
		why:  "a call that had no time to connect must not prevent the next one from connecting",
		run: func(t *trial) {
			answers := slow(t)
			first, key, token := t.Name(), t.Name(), t.Name()
			t.Within(setup/4, func(ctx context.Context) error {
				_, err := t.Node.SetNX(ctx, first, token, long)
				return err
			})
			answers()
			t.SetNX(key, token, long, true, "a free key, after a call that had no time to connect,")
			t.EvalDelete(key, token, true, "a key by its holder")
		},
	}}
}
