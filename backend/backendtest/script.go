package backendtest

import (
	"context"
	"slices"
	"strconv"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

func scripterChecks() []rule {
	const why = "the core relies on the reply that the comment of each script describes"
	const ms = 60_000
	ttl := strconv.Itoa(ms)
	return []rule{{
		name:  "Eval/keeps no arguments",
		needs: []string{"Stall"},
		why:   "after the call, the caller may change keys and args, even if ctx ended during a large write; otherwise a script could run with the arguments of another lock",
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
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.Answer(t.Eval(lua.Delete, key, t.Name()), "delete of a key that another token holds", 0)
			t.Answer(t.Eval(lua.Delete, key, token), "delete of a key by its holder", 1)
			t.Answer(t.Eval(lua.Delete, key, token), "delete of a key that does not exist", 0)
		},
	}, {
		name: "Eval/extend",
		why:  why,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.Name(), t.Name()
			t.Answer(t.Eval(lua.Extend, key, token, ttl), "extend of a key that does not exist", 0)
			t.SetNX(key, token, long/4, true, "a free key")
			t.Answer(t.Eval(lua.Extend, key, t.Name(), ttl), "extend of a key that another token holds", 0)
			t.Answer(t.Eval(lua.Extend, key, token, ttl), "extend of a key by its holder", 1)
			t.Left(t.Eval(lua.Acquire, key, token, ttl), "acquire of a key that was extended, by its holder", 1, ms)
		},
	}, {
		name: "Eval/inspect",
		why:  why,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.Name(), t.Name()
			if r := t.Eval(lua.Inspect, key); !slices.Equal(r, backend.Reply{int64(0), "", int64(0)}) {
				t.Failf("inspect of a key that does not exist answers %v, want {0, \"\", 0}", check.Brief(r))
			}
			t.SetNX(key, token, long, true, "a free key")
			r := t.Eval(lua.Inspect, key)
			if len(r) != 3 || r[1] != token {
				t.Failf("inspect of a key that is held answers %v, want {1, the token, its time to live}", check.Brief(r))
			}
			t.Left(backend.Reply{r[0], r[2]}, "inspect of a key that is held, without the token,", 1, ms)
		},
	}, {
		name: "Eval/error",
		why:  "a failed script must not seem to have a reply",
		run: func(t *trial) {
			s := has[backend.Scripter](t, "Scripter")
			t.Eval(lua.Inspect, t.Name()) // skips the check if scripts are not supported
			key := t.Name()
			ctx, cancel := context.WithTimeout(t.Ctx, call)
			defer cancel()
			r, err := s.Eval(ctx, lua.Acquire, []string{key}, []string{t.Name(), "soon"})
			if err == nil || r != nil {
				t.Failf("acquire for the time %q answers %v, %v, want an error", "soon", check.Brief(r), err)
			}
			t.SetNX(key, t.Name(), long, true, "a free key, after a script that failed")
		},
	}}
}

func flushedChecks() []rule {
	const why = "a server that restarts forgets its scripts; this must cost a round trip, not a lock"
	flush := func(t *trial) {
		t.Need(t.h.FlushScripts != nil, "FlushScripts")
		if err := t.h.FlushScripts(t.Ctx, t.Node); err != nil {
			t.Failf("the harness cannot FlushScripts: %w", err)
		}
	}
	all := []rule{{
		name:  "flushed scripts/forgotten",
		needs: []string{"HasScript", "Scripter"},
		why:   "with a harness that flushes nothing, all other checks of this group would pass",
		run: func(t *trial) {
			t.Need(t.h.HasScript != nil, "HasScript")
			has[backend.Scripter](t, "Scripter")
			t.Eval(lua.Inspect, t.Name())
			for _, want := range []bool{true, false} {
				known, err := t.h.HasScript(t.Ctx, t.Node, lua.Inspect.Hash())
				switch {
				case err != nil:
					t.Failf("the harness cannot HasScript: %w", err)
				case want && !known:
					t.Failf("HasScript of the harness does not find a script that has just run")
				case !want && known:
					t.Failf("after FlushScripts, HasScript still finds a script: one of the two hooks does not work")
				}
				if want {
					flush(t)
				}
			}
		},
	}}
	for _, o := range operations() {
		if !o.script {
			continue
		}
		all = append(all, rule{
			name:  "flushed scripts/" + o.name,
			needs: o.needs,
			why:   why,
			run: func(t *trial) {
				t.Need(t.h.FlushScripts != nil, "FlushScripts")
				for range 3 { // unknown, known, and unknown again
					for _, forget := range []bool{true, false} {
						key, token := t.Name(), t.Name()
						o.prepare(t, key, token)
						if forget {
							flush(t)
						}
						ctx, cancel := context.WithTimeout(t.Ctx, call)
						err := o.do(t, ctx, key, token)
						cancel()
						if err != nil {
							t.Failf("%s, after the server forgot its scripts: %w", o.name, err)
						}
						if o.effect != nil && o.name != "Extend" && !o.effect(t, key, token) {
							t.Failf("%s, after the server forgot its scripts, had no effect", o.name)
						}
					}
				}
			},
		})
	}
	return append(all, rule{
		name:  "flushed scripts/order in a batch",
		needs: []string{"Batcher"},
		why:   "a script that is sent again because the server did not know it must not run after later operations on the same key",
		run: func(t *trial) {
			t.Need(t.h.FlushScripts != nil, "FlushScripts")
			b := has[backend.Batcher](t, "Batcher")
			for range 2 {
				flush(t)
				sequence(t, b, 4)
			}
		},
	}, rule{
		name: "flushed scripts/many at once",
		why:  why,
		run: func(t *trial) {
			for range 3 {
				keys := make([]string, crowd)
				for i := range keys {
					keys[i] = t.Name()
					t.SetNX(keys[i], keys[i], long, true, "a free key")
				}
				flush(t)
				t.Parallel(crowd, func(i int) {
					t.Extend(keys[i], keys[i], long, true, "a key by its holder, after the server forgot its scripts")
					t.EvalDelete(keys[i], keys[i], true, "a key by its holder, after the server forgot its scripts")
				})
			}
		},
	})
}
