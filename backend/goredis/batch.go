package goredis

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// Batch implements [backend.Batcher] with a pipeline; over a Cluster with one
// to each master, side by side, so that it takes as long as the slowest.
//
// The operations on one key run in the order given also where the server does
// not know a script: a script is sent as its text if a later operation of the
// batch is on one of its keys, and otherwise as its hash, which is safe to
// repeat after the rest of the batch.
func (n *Node) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	if len(ops) == 0 {
		return nil
	}
	results := make([]backend.Result, len(ops))
	if ctx.Err() != nil {
		for i := range results {
			results[i].Err = ended(ctx)
		}
		return results
	}

	all := make([]*command, len(ops)) // nil for what is no operation
	sent := make([]*command, 0, len(ops))
	texts := asText(ops)
	for i, op := range ops {
		if all[i] = order(ctx, op, texts != nil && texts[i]); all[i] != nil {
			sent = append(sent, all[i])
		}
	}
	if len(sent) > 0 {
		n.route.pipeline(ctx, sent)
	}

	again := sent[:0]
	for i, c := range all {
		if c != nil && isNoScript(c.err) {
			all[i] = order(ctx, ops[i], true)
			again = append(again, all[i])
		}
	}
	if len(again) > 0 {
		n.route.pipeline(ctx, again)
	}

	for i, c := range all {
		results[i] = outcome(ops[i], c)
	}
	return results
}

// script returns the script that op runs, nil if it runs none.
func script(op backend.Op) *backend.Script {
	switch op.Kind {
	case backend.OpEvalDelete:
		return lua.Delete
	case backend.OpExtend:
		return lua.Extend
	case backend.OpEval:
		return op.Script
	}
	return nil
}

// asText says of each of ops whether it is a script that has to be sent as its
// text, because a later operation is on one of its keys. It is nil if none is.
func asText(ops []backend.Op) []bool {
	if len(ops) == 1 {
		return nil
	}
	var texts []bool
	later := make(map[string]struct{}, len(ops))
	for i := len(ops) - 1; i >= 0; i-- {
		op := ops[i]
		keys := op.Keys
		if op.Kind != backend.OpEval {
			keys = []string{op.Key}
		}
		for _, key := range keys {
			if _, ok := later[key]; ok && script(op) != nil {
				if texts == nil {
					texts = make([]bool, len(ops))
				}
				texts[i] = true
			}
		}
		for _, key := range keys {
			later[key] = struct{}{}
		}
	}
	return texts
}

// order returns the command for op, nil if op is no operation.
func order(ctx context.Context, op backend.Op, text bool) *command {
	c := new(command)
	switch op.Kind {
	case backend.OpSetNX:
		c.setNX(ctx, op.Key, op.Token, op.TTL)
	case backend.OpEvalDelete:
		c.eval(ctx, lua.Delete, text, []string{op.Key}, []string{op.Token})
	case backend.OpExtend:
		c.eval(ctx, lua.Extend, text, []string{op.Key}, []string{op.Token, milliseconds(op.TTL)})
	case backend.OpEval:
		c.eval(ctx, op.Script, text, op.Keys, op.Args)
	default:
		return nil
	}
	return c
}

// outcome returns what came of op, which was sent as c.
func outcome(op backend.Op, c *command) backend.Result {
	var r backend.Result
	switch op.Kind {
	case backend.OpSetNX:
		r.OK, r.Err = c.stored(c.err)
	case backend.OpEvalDelete, backend.OpExtend:
		r.OK, r.Err = c.truth(c.err)
	case backend.OpEval:
		r.Reply, r.Err = c.reply(c.err)
	default:
		r.Err = backend.MarkNotExecuted(fmt.Errorf("goredis: %v is no operation", op.Kind))
	}
	return r
}
