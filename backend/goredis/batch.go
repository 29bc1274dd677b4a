package goredis

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// Batch implements [backend.Batcher] with a pipeline. For a Cluster it uses one pipeline
// to each master, in parallel, so it takes as long as the slowest.
//
// Operations on one key run in the given order even if the server does not know a script.
// A script is sent as its text if a later operation of the batch uses one of its keys,
// and otherwise as its hash, which can be repeated after the rest of the batch.
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

	room := make([]command, len(ops))
	all := make([]*command, len(ops)) // nil for an unknown operation
	sent := make([]*command, 0, len(ops))
	repeated := adapterkit.Repeated(ops)
	for i, op := range ops {
		if all[i] = room[i].order(ctx, op, repeated != nil && repeated[i] || n.loaded.TextOnly()); all[i] != nil {
			sent = append(sent, all[i])
		}
	}
	if len(sent) > 0 {
		n.route.pipeline(ctx, sent)
	}

	var again []*command // new ones, because an abandoned call may still read those in sent
	for i, c := range all {
		if c != nil && (isNoScript(c.err) || ops[i].Kind != backend.OpSetNX && n.rejectsHash(c.err)) {
			all[i] = new(command).order(ctx, ops[i], true)
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

// order makes c the command for op. It returns nil for an unknown operation.
func (c *command) order(ctx context.Context, op backend.Op, text bool) *command {
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

// outcome returns the result of op, which was sent as c.
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
