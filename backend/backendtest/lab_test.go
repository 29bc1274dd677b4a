package backendtest_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// A lab is a memory node behind a fault node, the server and its network, and
// has every hook of a harness.
type lab struct {
	server  *memory.Node
	network *backendtest.FaultNode

	// client makes the node that is checked of the network. It is set before
	// the first node is made; nil is the network itself.
	client func(l *lab) backend.Node

	// flushes counts the calls of FlushScripts, which mean nothing to a memory
	// node.
	flushes atomic.Int64

	// onDisconnect, if not nil, is called when the connections are broken.
	onDisconnect func()
}

func (l *lab) node(context.Context) (backend.Node, func(), error) {
	l.server = memory.New()
	l.network = backendtest.NewFaultNode(l.server)
	if l.client == nil {
		return l.network, nil, nil
	}
	return l.client(l), nil, nil
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
			return nil
		},
		Publish: func(_ context.Context, _ backend.Node, channel, payload string) error {
			l.server.Publish(channel, payload)
			return nil
		},
		Disconnect: func(context.Context, backend.Node) error {
			l.network.Disconnect()
			if l.onDisconnect != nil {
				l.onDisconnect()
			}
			return nil
		},
		Stall: func(context.Context, backend.Node) (func(), error) {
			stall, resume := backendtest.Stall()
			l.network.Set(stall)
			return func() {
				resume()
				l.network.Clear()
			}, nil
		},
		SlowDial: func(ctx context.Context, setup time.Duration) (backend.Node, func(), error) {
			n, release, err := l.node(ctx)
			l.network.Set(backendtest.First(1, backendtest.Delay(setup)))
			return n, release, err
		},
		LoseReplies: func(context.Context, backend.Node) (func() int, func(), error) {
			l.network.Forget()
			l.network.Set(backendtest.LoseReply(nil))
			return func() int { return len(l.network.Arrived()) }, l.network.Clear, nil
		},
	}
}
