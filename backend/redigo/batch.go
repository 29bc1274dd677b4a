package redigo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

const (
	// large is how many bytes can be written to a connection without filling the system's
	// buffer, whatever the server does. With more, the driver may block for a while even
	// when it closes the connection, because TLS sends a closing message and allows it five
	// seconds.
	large = 16 << 10

	// farewell is how long an exchange whose connection was closed at the deadline has to
	// report what it had received.
	farewell = 10 * time.Millisecond
)

// Batch sends ops in one round trip; see [backend.Batcher]. If a later operation uses the
// keys of a script, the script is sent as its text, so that nothing on its keys can
// overtake it. Otherwise it is sent as its hash, and again as its text in a second round
// trip if the server does not know it.
func (n *Node) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	cmds := make([]command, 0, len(ops))
	at := make([]int, 0, len(ops)) // cmds[i] is the command of ops[at[i]]
	repeated := adapterkit.Repeated(ops)
	lists := newArguments(ops)
	for i := range ops {
		script, args := lists.of(&ops[i])
		switch {
		case args == nil:
			results[i].Err = backend.MarkNotExecuted(fmt.Errorf("redigo: %v is no operation", ops[i].Kind))
			continue
		case script == nil:
			cmds = append(cmds, command{"SET", args})
		case (repeated == nil || !repeated[i]) && !n.loaded.TextOnly():
			args[0] = lists.hash(script)
			cmds = append(cmds, command{"EVALSHA", args})
		default:
			args[0] = script.Source()
			cmds = append(cmds, command{"EVAL", args})
		}
		at = append(at, i)
	}
	if len(cmds) == 0 {
		return results
	}

	var again []command
	var againAt []int
	for i, a := range n.pipeline(ctx, cmds) {
		op := &ops[at[i]]
		if a.err != nil && cmds[i].name == "EVALSHA" && (unknownScript(a.err) || n.loaded.Rejects(a.err)) {
			cmds[i].args[0] = scriptOf(op).Source()
			again = append(again, command{"EVAL", cmds[i].args})
			againAt = append(againAt, at[i])
			continue
		}
		results[at[i]] = result(op.Kind, a)
	}
	if len(again) > 0 {
		for i, a := range n.pipeline(ctx, again) {
			results[againAt[i]] = result(ops[againAt[i]].Kind, a)
		}
	}
	return results
}

// scriptOf returns the script that op runs, nil if it runs none.
func scriptOf(op *backend.Op) *backend.Script {
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

// arguments makes the arguments of all commands of a batch, as parts of one list. An
// argument needs memory of its own; most operations have the same TTL and run the same
// script, so these arguments are made once.
type arguments struct {
	list   []any
	ttl    time.Duration
	ttlArg any
	script *backend.Script
	sum    any // the hash of script
}

// newArguments returns arguments with room for those of ops.
func newArguments(ops []backend.Op) *arguments {
	n := 0
	for i := range ops {
		n += max(setArgs, 2+len(ops[i].Keys)+len(ops[i].Args))
	}
	return &arguments{list: make([]any, 0, n)}
}

// setArgs is the number of arguments of a SET. Those of Delete and Extend are not more.
const setArgs = 5

// of returns the script that op runs, nil for SetNX, and the arguments of its command,
// with a place for the script. Both are nil for an unknown operation.
func (a *arguments) of(op *backend.Op) (*backend.Script, []any) {
	from := len(a.list)
	switch op.Kind {
	case backend.OpSetNX:
		a.list = append(a.list, op.Key, op.Token, "NX", "PX", a.life(op.TTL))
	case backend.OpEvalDelete:
		a.list = append(a.list, nil, 1, op.Key, op.Token)
	case backend.OpExtend:
		a.list = append(a.list, nil, 1, op.Key, op.Token, a.life(op.TTL))
	case backend.OpEval:
		a.list = appendScriptArgs(a.list, op.Keys, op.Args)
	default:
		return nil, nil
	}
	return scriptOf(op), a.list[from:len(a.list):len(a.list)]
}

// life returns ttl as an argument.
func (a *arguments) life(ttl time.Duration) any {
	if a.ttlArg == nil || a.ttl != ttl {
		a.ttl, a.ttlArg = ttl, adapterkit.Milliseconds(ttl)
	}
	return a.ttlArg
}

// hash returns the hash of s as an argument.
func (a *arguments) hash(s *backend.Script) any {
	if a.script != s {
		a.script, a.sum = s, s.Hash()
	}
	return a.sum
}

// result reads the answer to an operation.
func result(kind backend.OpKind, a answer) (r backend.Result) {
	switch kind {
	case backend.OpSetNX:
		r.OK, r.Err = stored(a.reply, a.err)
	case backend.OpEval:
		r.Reply, r.Err = answered(a.reply, a.err)
	default:
		r.OK, r.Err = matched(a.reply, a.err)
	}
	return r
}

// A command is one command of a pipeline. The pipeline owns args from then on, and may
// read it until the write to the connection has ended: see [Node.pipeline].
type command struct {
	name string
	args []any
}

// An answer is the reply to a command, or an error that a Node may return.
type answer struct {
	reply any
	err   error
}

// remarkAmong returns the first remark among answers.
func remarkAmong(answers []answer) remark {
	for i := range answers {
		if r := remarkIn(answers[i].err); r != nothing {
			return r
		}
	}
	return nothing
}

// fail sets err for the answers from index first on, and returns all answers.
func fail(answers []answer, first int, err error) []answer {
	for i := first; i < len(answers); i++ {
		answers[i].err = err
	}
	return answers
}

// size returns how many bytes of keys, tokens and scripts are in args.
func size(args []any) (n int) {
	for _, a := range args {
		if s, ok := a.(string); ok {
			n += len(s)
		}
	}
	return n
}

// pipeline sends cmds, at least one, in one round trip and returns the answer to each. If
// ctx ends first, it may read cmds and their arguments after it has returned, and no
// answer is a reply of the server. So the caller must not use cmds again, except to send
// a command again that the server has answered.
func (n *Node) pipeline(ctx context.Context, cmds []command) []answer {
	faults := n.conns.faults.Load()
	c, err := n.conns.take(ctx)
	if err != nil {
		return fail(make([]answer, len(cmds)), 0, n.notSent(ctx, err))
	}
	var total int
	for i := range cmds {
		total += size(cmds[i].args) + 64 // and the bytes that frame it
	}
	if total <= large {
		answers := n.exchange(ctx, c, cmds)
		n.conns.heard(ctx, c, faults, remarkAmong(answers))
		n.conns.back(c)
		return answers
	}

	// In a goroutine, which owns cmds, the connection and the answers until it ends. It may
	// outlast this call: until the deadline if the call was cancelled, and in any case by
	// the five seconds that large describes.
	done := make(chan []answer, 1)
	go func() {
		answers := n.exchange(ctx, c, cmds)
		n.conns.heard(ctx, c, faults, remarkAmong(answers))
		n.conns.back(c)
		done <- answers
	}()
	select {
	case answers := <-done:
		return answers
	case <-ctx.Done():
	}
	select {
	case answers := <-done:
		return answers
	case <-time.After(farewell):
		return fail(make([]answer, len(cmds)), 0, ctx.Err())
	}
}

// exchange sends cmds on c and receives their replies. If the connection breaks, it keeps
// the replies that had arrived.
func (n *Node) exchange(ctx context.Context, c redis.Conn, cmds []command) []answer {
	if err := ended(ctx); err != nil {
		return fail(make([]answer, len(cmds)), 0, backend.MarkNotExecuted(err))
	}
	w := n.conns.watch(ctx, c)
	defer n.conns.over(w)
	answers := make([]answer, len(cmds))
	for i := range cmds {
		if err := c.Send(cmds[i].name, cmds[i].args...); err != nil {
			err = n.failure(ctx, err)
			fail(answers, 0, err)
			return fail(answers, i+1, backend.MarkNotExecuted(err)) // not sent
		}
	}
	if err := c.Flush(); err != nil {
		return fail(answers, 0, n.failure(ctx, err))
	}
	deadline, ok := ctx.Deadline()
	for i := range cmds {
		var reply any
		var err error
		switch {
		case !ok:
			reply, err = c.Receive()
		case i == 0:
			reply, err = redis.ReceiveWithTimeout(c, left(deadline))
		default:
			// Moving the deadline for each reply would cost more than reading the reply. If
			// the rest does not arrive, the watcher ends the call.
			reply, err = redis.ReceiveWithTimeout(c, 0)
		}
		if err == nil {
			answers[i].reply = reply
			continue
		}
		err = n.failure(ctx, err)
		var refused redis.Error
		if !errors.As(err, &refused) {
			return fail(answers, i, err)
		}
		answers[i].err = err
	}
	return answers
}
