package rueidis

import (
	"context"
	"sync"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// maxBatch is the most operations that are sent at once. With as many as BlockingPipeline,
// 2000 by default, the driver uses another connection, and may keep a call for a second too
// long. The package comment tells users to set no less than this.
const maxBatch = 1024

// Batch implements [backend.Batcher] with one round trip for every 1024 operations, for a
// Cluster to each master at the same time. A script is sent as its hash, unless a later
// operation uses one of its keys ([adapterkit.Repeated]).
func (n *Node) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	if len(ops) == 0 {
		return nil
	}
	results := make([]backend.Result, len(ops))
	if len(ops) == 1 {
		results[0] = ops[0].Do(ctx, n)
		return results
	}
	for start := 0; start < len(ops); start += maxBatch {
		end := min(start+maxBatch, len(ops))
		n.batch(ctx, ops[start:end], results[start:end])
	}
	return results
}

// batch sends ops together and fills in results.
func (n *Node) batch(ctx context.Context, ops []backend.Op, results []backend.Result) {
	b := batch{
		commands: make([]rueidis.Completed, 0, len(ops)),
		sent:     make([]int, 0, len(ops)),
	}
	repeated := adapterkit.Repeated(ops)
	for i, op := range ops {
		script := scriptOf(op)
		if script == nil && op.Kind != backend.OpSetNX {
			results[i] = op.Do(ctx, n) // fails
			continue
		}
		b.add(i, n.command(op, script, repeated != nil && repeated[i] || n.loaded.TextOnly()))
	}
	n.run(ctx, b, ops, results)

	// Send the scripts that the server did not know again as their text. They have not run.
	again := batch{}
	for _, i := range b.sent {
		if noScript(results[i].Err) || ops[i].Kind != backend.OpSetNX && n.loaded.Rejects(results[i].Err) {
			again.add(i, n.command(ops[i], scriptOf(ops[i]), true))
		}
	}
	n.run(ctx, again, ops, results)
}

// A batch is what is sent in one round trip: commands, and the index of the operation of
// each. Once it was sent, the driver owns the commands and the list, and may read them
// after the call has returned. So a batch is not used again.
type batch struct {
	commands []rueidis.Completed
	sent     []int
}

func (b *batch) add(i int, command rueidis.Completed) {
	b.commands = append(b.commands, command)
	b.sent = append(b.sent, i)
}

// run sends b and sets the results of its operations. Operations for a server that may
// not answer are sent separately, so that the others need not wait for them. Operations
// on one key stay together.
func (n *Node) run(ctx context.Context, b batch, ops []backend.Op, results []backend.Result) {
	if err := ctx.Err(); err != nil {
		b.fail(backend.MarkNotExecuted(err), results)
		return
	}
	if !n.cluster {
		aside, err := n.pass(ctx, 0, "")
		if err != nil {
			b.fail(err, results)
			return
		}
		n.send(ctx, b, ops, results, aside)
		return
	}

	var now batch
	open := make([]bool, len(n.gates))
	later := make(map[int]*batch) // by the index of a shut gate
	for at, i := range b.sent {
		g := n.gate(keyOf(&ops[i]))
		if !open[g] && later[g] == nil {
			if open[g] = n.gates[g].open.Load(); !open[g] {
				later[g] = new(batch)
			}
		}
		if open[g] {
			now.add(i, b.commands[at])
		} else {
			later[g].add(i, b.commands[at])
		}
	}
	var trying sync.WaitGroup
	defer trying.Wait()
	for g, b := range later {
		trying.Go(func() {
			aside, err := n.pass(ctx, g, keyOf(&ops[b.sent[0]]))
			if err != nil {
				b.fail(err, results)
				return
			}
			n.send(ctx, *b, ops, results, aside)
		})
	}
	n.send(ctx, now, ops, results, false)
}

// send sends b in one round trip and sets the results of its operations.
func (n *Node) send(ctx context.Context, b batch, ops []backend.Op, results []backend.Result, aside bool) {
	if len(b.commands) == 0 {
		return
	}
	answered := true // every command
	if aside {
		for at, i := range b.sent {
			b.commands[at] = n.aside(keyOf(&ops[i]), b.commands[at])
		}
		n.spares.begin()
		defer func() { n.spare(&n.gates[n.gate(keyOf(&ops[b.sent[0]]))], answered) }()
	}
	before := make([]uint64, len(n.gates))
	for i := range n.gates {
		before[i] = n.gates[i].answers.Load()
	}
	for at, r := range n.client.DoMulti(ctx, b.commands...) {
		i := b.sent[at]
		results[i] = result(ctx, ops[i].Kind, r)
		answered = answered && r.NonRedisError() == nil
		switch g := n.gate(keyOf(&ops[i])); {
		case aside: // another connection says nothing about the shared one
		case r.NonRedisError() == nil:
			n.gates[g].answered()
		default:
			n.gates[g].failed(ctx, before[g])
		}
	}
	for _, i := range b.sent {
		if results[i].Err != nil {
			n.replace(ctx, results[i].Err, aside)
		}
	}
}

// fail sets the results of the operations in b.
func (b *batch) fail(err error, results []backend.Result) {
	for _, i := range b.sent {
		results[i] = backend.Result{Err: err}
	}
}

// result reads the answer to an operation.
func result(ctx context.Context, kind backend.OpKind, r rueidis.RedisResult) backend.Result {
	if err := failure(ctx, r); err != nil {
		return backend.Result{Err: err}
	}
	var res backend.Result
	message, _ := r.ToMessage()
	switch kind {
	case backend.OpSetNX:
		res.OK, res.Err = stored(message, nil)
	case backend.OpEval:
		res.Reply, res.Err = reply(message)
	default:
		res.OK, res.Err = yes(message, nil)
	}
	return res
}

// command builds the command of an operation, with the script that it runs.
func (n *Node) command(op backend.Op, script *backend.Script, text bool) rueidis.Completed {
	if op.Kind == backend.OpSetNX {
		return n.setNX(op.Key, op.Token, op.TTL)
	}
	if op.Kind == backend.OpEval {
		return n.script(script, text, op.Keys, op.Args)
	}
	args := []string{op.Token}
	if op.Kind == backend.OpExtend {
		args = append(args, milliseconds(op.TTL))
	}
	return n.script(script, text, []string{op.Key}, args)
}

// scriptOf returns the script that op runs, or nil if there is none.
func scriptOf(op backend.Op) *backend.Script {
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

// keyOf returns the key that routes op.
func keyOf(op *backend.Op) string {
	if op.Kind == backend.OpEval {
		return first(op.Keys)
	}
	return op.Key
}
