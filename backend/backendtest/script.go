package backendtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// answer fails the check unless r is the numbers want.
func (t *trial) answer(r backend.Reply, what string, want ...int64) {
	reply := make(backend.Reply, len(want))
	for i, n := range want {
		reply[i] = n
	}
	if !slices.Equal(r, reply) {
		t.failf("%s answers %v, want %v", what, brief(r), reply)
	}
}

// left fails the check unless r begins with two numbers, first and a time to live
// of at most ttl and not much less.
func (t *trial) left(r backend.Reply, what string, first, ttl int64) {
	n, err1 := r.Int(0)
	ms, err2 := r.Int(1)
	if err1 != nil || err2 != nil || len(r) < 2 || n != first || ms > ttl || ms < ttl-call.Milliseconds() {
		t.failf("%s answers %v, want {%d, at most %d and about that}", what, brief(r), first, ttl)
	}
}

// brief returns r for a message.
func brief(r backend.Reply) string {
	var parts []string
	for _, e := range r {
		if s, ok := e.(string); ok {
			parts = append(parts, quote(s))
		} else {
			parts = append(parts, fmt.Sprintf("%v (%T)", e, e))
		}
	}
	return fmt.Sprint(parts)
}

func scripterChecks() []check {
	const why = "the core trusts what the head of each script's file says that it answers"
	const ms = 60_000
	ttl := strconv.Itoa(ms)
	return []check{{
		name:  "Eval/keeps no arguments",
		needs: []string{"Stall"},
		why:   "keys and args are the caller's again, even if ctx ended in the middle of a large write: else a script runs with the arguments of another lock",
		run: func(t *trial) {
			n := has[backend.Scripter](t, "Scripter")
			keepsNoArguments(t, func(ctx context.Context, s *backend.Script, keys, args []string) error {
				_, err := n.Eval(ctx, s, keys, args)
				return err
			})
		},
	}, {
		name: "Eval/delete",
		why:  why,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.name(), t.name()
			t.setNX(key, token, long, true, "a free key")
			t.answer(t.eval(lua.Delete, key, t.name()), "delete of a key that another token holds", 0)
			t.answer(t.eval(lua.Delete, key, token), "delete of a key by its holder", 1)
			t.answer(t.eval(lua.Delete, key, token), "delete of a key that does not exist", 0)
		},
	}, {
		name: "Eval/extend",
		why:  why,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.name(), t.name()
			t.answer(t.eval(lua.Extend, key, token, ttl), "extend of a key that does not exist", 0)
			t.setNX(key, token, long/4, true, "a free key")
			t.answer(t.eval(lua.Extend, key, t.name(), ttl), "extend of a key that another token holds", 0)
			t.answer(t.eval(lua.Extend, key, token, ttl), "extend of a key by its holder", 1)
			t.left(t.eval(lua.Acquire, key, token, ttl), "acquire of a key that was extended, by its holder", 1, ms)
		},
	}, {
		name: "Eval/inspect",
		why:  why,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.name(), t.name()
			if r := t.eval(lua.Inspect, key); !slices.Equal(r, backend.Reply{int64(0), "", int64(0)}) {
				t.failf("inspect of a key that does not exist answers %v, want {0, \"\", 0}", brief(r))
			}
			t.setNX(key, token, long, true, "a free key")
			r := t.eval(lua.Inspect, key)
			if len(r) != 3 || r[1] != token {
				t.failf("inspect of a key that is held answers %v, want {1, the token, its time to live}", brief(r))
			}
			t.left(backend.Reply{r[0], r[2]}, "inspect of a key that is held, without the token,", 1, ms)
		},
	}, {
		name: "Eval/error",
		why:  "what a script does not answer must not look like an answer",
		run: func(t *trial) {
			s := has[backend.Scripter](t, "Scripter")
			t.eval(lua.Inspect, t.name()) // or it says that it is unsupported
			key := t.name()
			ctx, cancel := context.WithTimeout(t.ctx, call)
			defer cancel()
			r, err := s.Eval(ctx, lua.Acquire, []string{key}, []string{t.name(), "soon"})
			if err == nil || r != nil {
				t.failf("acquire for the time %q answers %v, %v, want an error", "soon", brief(r), err)
			}
			t.setNX(key, t.name(), long, true, "a free key, after a script that failed")
		},
	}}
}

func flushedChecks() []check {
	const why = "a server that restarts forgets its scripts; that must cost a round trip, not a lock"
	flush := func(t *trial) {
		t.need(t.h.FlushScripts != nil, "FlushScripts")
		if err := t.h.FlushScripts(t.ctx, t.n); err != nil {
			t.failf("the harness cannot FlushScripts: %w", err)
		}
	}
	var all []check
	for _, o := range operations() {
		if !o.script {
			continue
		}
		all = append(all, check{
			name:  "flushed scripts/" + o.name,
			needs: o.needs,
			why:   why,
			run: func(t *trial) {
				t.need(t.h.FlushScripts != nil, "FlushScripts")
				for range 3 { // unknown, known, unknown again
					for _, forget := range []bool{true, false} {
						key, token := t.name(), t.name()
						o.prepare(t, key, token)
						if forget {
							flush(t)
						}
						ctx, cancel := context.WithTimeout(t.ctx, call)
						err := o.do(t, ctx, key, token)
						cancel()
						if err != nil {
							t.failf("%s, after the server forgot its scripts: %w", o.name, err)
						}
						if o.effect != nil && o.name != "Extend" && !o.effect(t, key, token) {
							t.failf("%s, after the server forgot its scripts, had no effect", o.name)
						}
					}
				}
			},
		})
	}
	return append(all, check{
		name:  "flushed scripts/order in a batch",
		needs: []string{"Batcher"},
		why:   "what is sent again because the server did not know the script must not come after what followed it on the same key",
		run: func(t *trial) {
			t.need(t.h.FlushScripts != nil, "FlushScripts")
			b := has[backend.Batcher](t, "Batcher")
			for range 2 {
				flush(t)
				sequence(t, b, 4)
			}
		},
	}, check{
		name: "flushed scripts/many at once",
		why:  why,
		run: func(t *trial) {
			for range 3 {
				keys := make([]string, crowd)
				for i := range keys {
					keys[i] = t.name()
					t.setNX(keys[i], keys[i], long, true, "a free key")
				}
				flush(t)
				t.parallel(crowd, func(i int) {
					t.extend(keys[i], keys[i], long, true, "a key by its holder, after the server forgot its scripts")
					t.evalDelete(keys[i], keys[i], true, "a key by its holder, after the server forgot its scripts")
				})
			}
		},
	})
}
