package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// An operation is a method of a node, for the rules that hold for each of them.
type operation struct {
	name string

	// needs is what the node must be to have the method.
	needs []string

	// prepare brings key to where do has an effect.
	prepare func(t *trial, key, token string)

	// do calls the method, which answers no if it is not about a fresh or a
	// held key.
	do func(t *trial, ctx context.Context, key, token string) error

	// effect reports whether do had its effect; it may destroy it. It is nil
	// if do has none.
	effect func(t *trial, key, token string) bool

	commands int  // how many SET, EVAL and EVALSHA it takes
	script   bool // it may be a script
}

// operations returns all but Subscribe.
func operations() []operation {
	nothing := func(*trial, string, string) {}
	taken := func(t *trial, key, _ string) bool { return !t.TrySetNX(key, t.Name(), long) }
	held := func(t *trial, key, token string) { t.SetNX(key, token, long, true, "a free key") }
	// The life of a key that Extend is to lengthen, and the one it gets.
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
					t.Failf("some operations of a batch failed and some did not, where all or none must: %+v", results)
				}
			}
			return results[0].Err
		},
		effect: taken,
	}}
}

// unharmed fails the check if o, which claims that it was not executed, was, or
// is within a moment.
func (o operation) unharmed(t *trial, key, token string) {
	if o.effect == nil {
		return
	}
	t.answers()
	t.Wait(20 * time.Millisecond)
	if o.effect(t, key, token) {
		t.Failf("%s failed with an error that says that it was not executed, and was executed", o.name)
	}
}
