package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// An operation is a method of a node, for the rules that apply to every method.
type operation struct {
	name string

	// needs is the capability that the node must have for the method.
	needs []string

	// prepare brings key into a state in which do has an effect.
	prepare func(t *trial, key, token string)

	// do calls the method for key, and returns its error.
	do func(t *trial, ctx context.Context, key, token string) error

	// effect reports whether do had its effect. It may undo the effect. It is nil if do has none.
	effect func(t *trial, key, token string) bool

	commands int  // how many SET, EVAL and EVALSHA commands it sends
	script   bool // it may be sent as a script
}

// operations returns all methods except Subscribe.
func operations() []operation {
	nothing := func(*trial, string, string) {}
	taken := func(t *trial, key, _ string) bool { return !t.TrySetNX(key, t.Name(), long) }
	held := func(t *trial, key, token string) { t.SetNX(key, token, long, true, "a free key") }
	// The time to live of a key before and after Extend.
	const before, after = long / 4, long
	return []operation{{
		name: "SetNX", prepare: nothing, commands: 1,
		do: func(t *trial, ctx context.Context, key, token string) error {
			_, err := t.Node.SetNX(ctx, key, token, long)
			return err
		},
		effect: taken,
	}, {
		name: "EvalDelete", prepare: held, commands: 1, script: true,
		do: func(t *trial, ctx context.Context, key, token string) error {
			_, err := t.Node.EvalDelete(ctx, key, token)
			return err
		},
		effect: func(t *trial, key, _ string) bool { return t.TrySetNX(key, t.Name(), long) },
	}, {
		name: "Extend", commands: 1, script: true,
		prepare: func(t *trial, key, token string) { t.SetNX(key, token, before, true, "a free key") },
		do: func(t *trial, ctx context.Context, key, token string) error {
			_, err := t.Node.Extend(ctx, key, token, after)
			return err
		},
		effect: func(t *trial, key, _ string) bool {
			_, ok := optional[backend.Scripter](t, "Scripter")
			return ok && t.Inspect(key).TTL > before
		},
	}, {
		name: "Eval", commands: 1, script: true, prepare: nothing,
		needs: []string{"Scripter"},
		do: func(t *trial, ctx context.Context, key, token string) error {
			s := has[backend.Scripter](t, "Scripter")
			_, err := s.Eval(ctx, lua.Acquire, []string{key}, []string{token, "60000"})
			return err
		},
		effect: taken,
	}, {
		name: "Batch", commands: 3, script: true,
		needs: []string{"Batcher"},
		prepare: func(t *trial, key, token string) {
			t.SetNX(key+"2", token, long, true, "a free key")
		},
		do: func(t *trial, ctx context.Context, key, token string) error {
			b := has[backend.Batcher](t, "Batcher")
			results := b.Batch(ctx, []backend.Op{
				{Kind: backend.OpSetNX, Key: key, Token: token, TTL: long},
				{Kind: backend.OpEvalDelete, Key: key + "2", Token: token},
				{Kind: backend.OpExtend, Key: key + "3", Token: token, TTL: long},
			})
			if len(results) != 3 {
				t.Failf("Batch of 3 operations has %d results", len(results))
			}
			for _, r := range results[1:] {
				if (r.Err == nil) != (results[0].Err == nil) {
					t.Failf("some operations of a batch failed and others did not, want all or none to fail: %+v", results)
				}
			}
			return results[0].Err
		},
		effect: taken,
	}}
}

// unharmed fails the check if o, which reports that it was not executed, was executed, or is
// executed within a moment.
func (o operation) unharmed(t *trial, key, token string) {
	if o.effect == nil {
		return
	}
	t.answers()
	t.Wait(20 * time.Millisecond)
	if o.effect(t, key, token) {
		t.Failf("%s was executed, although its error says that it was not", o.name)
	}
}
