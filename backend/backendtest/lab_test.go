package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// A lab is a memory node behind a fault node, which are the server and its network. It has every
// hook of a harness.
type lab struct {
	server  *memory.Node
	socket  *faulty.FaultNode // the server's side, which records what arrives
	network *faulty.FaultNode

	// client makes the node under check from the network. It must be set before the first node is
	// made. If it is nil, the node is the network itself.
	client func(l *lab) backend.Node

	// flushes counts the calls of FlushScripts, which have no effect on a memory node.
	flushes atomic.Int64

	mu    sync.Mutex
	calls map[int]func() // functions that end the calls waiting in the server's socket
	next  int

	// onDisconnect, if not nil, is called when the connections are broken.
	onDisconnect func()
}

func (l *lab) node(context.Context) (backend.Node, func(), error) {
	l.server = memory.New()
	server := faulty.NewFaultNode(l.server)
	server.Set(tiny)
	l.socket = server
	l.network = faulty.NewFaultNode(server)
	if l.client == nil {
		return l.network, nil, nil
	}
	return l.client(l), nil, nil
}

// tiny executes the scripts that are not in package backend/lua, because a memory node does not
// know them.
var tiny = faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
	if op.Kind != backend.OpEval {
		return next(ctx)
	}
	var r backend.Reply
	switch op.Script.Name() {
	case "reply":
		return backend.Result{Err: backend.MarkReply(errors.New(op.Args[0]))}
	case "pass":
		r = backend.Reply{int64(len(op.Keys)), int64(len(op.Args))}
		for _, text := range slices.Concat(op.Keys, op.Args) {
			r = append(r, text)
		}
	case "numbers":
		for _, text := range op.Args {
			n, _ := strconv.ParseInt(text, 10, 64)
			r = append(r, n)
		}
	default:
		return next(ctx)
	}
	return backend.Result{Reply: r}
})

// onBreak makes f run when the connections break, until the returned function is called.
func (l *lab) onBreak(f func()) (forget func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls == nil {
		l.calls = map[int]func(){}
	}
	id := l.next
	l.next++
	l.calls[id] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.calls, id)
	}
}

func (l *lab) harness() backendtest.Harness {
	return backendtest.Harness{
		New: l.node,
		Set: func(_ context.Context, _ backend.Node, key, value string, ttl time.Duration) error {
			l.server.Set(key, value, ttl)
			return nil
		},
		SetOther: func(_ context.Context, _ backend.Node, key string) error {
			l.server.Push(key, "element")
			return nil
		},
		FlushScripts: func(context.Context, backend.Node) error {
			l.flushes.Add(1)
			l.socket.Forget()
			return nil
		},
		HasScript: func(_ context.Context, _ backend.Node, hash string) (bool, error) {
			return slices.ContainsFunc(l.socket.Arrived(), func(op backend.Op) bool {
				return op.Kind == backend.OpEval && op.Script.Hash() == hash
			}), nil
		},
		Publish: func(_ context.Context, _ backend.Node, channel, payload string) error {
			l.server.Publish(channel, payload)
			return nil
		},
		Disconnect: func(context.Context, backend.Node) error {
			l.network.Disconnect()
			l.mu.Lock()
			for _, f := range l.calls {
				f()
			}
			l.mu.Unlock()
			if l.onDisconnect != nil {
				l.onDisconnect()
			}
			return nil
		},
		Stall: func(context.Context, backend.Node) (func(), error) {
			stall, resume := faulty.Stall()
			l.network.Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
				ctx, cancel := context.WithCancelCause(ctx)
				defer cancel(nil)
				defer l.onBreak(func() { cancel(faulty.ErrDisconnected) })()
				results := stall(ctx, ops, next)
				if context.Cause(ctx) == faulty.ErrDisconnected {
					for i := range results {
						results[i] = backend.Result{Err: faulty.ErrDisconnected}
					}
				}
				return results
			})
			return func() {
				resume()
				l.network.Clear()
			}, nil
		},
		SlowDial: func(ctx context.Context, setup time.Duration) (backend.Node, func(), error) {
			n, release, err := l.node(ctx)
			ready := time.Now().Add(setup)
			l.network.Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
				return faulty.Delay(time.Until(ready))(ctx, ops, next)
			})
			return n, release, err
		},
		LoseReplies: func(context.Context, backend.Node) (func() int, func(), error) {
			l.network.Forget()
			l.network.Set(faulty.LoseReply(nil))
			return func() int { return len(l.network.Arrived()) }, l.network.Clear, nil
		},
		Reject: func(_ context.Context, _ backend.Node, reply string) (func(), error) {
			l.network.Set(faulty.Each(func(context.Context, backend.Op, func(context.Context) backend.Result) backend.Result {
				return backend.Result{Err: backend.MarkReply(errors.New(reply))}
			}))
			return l.network.Clear, nil
		},
	}
}
