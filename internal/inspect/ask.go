package inspect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// Nodes are the nodes that are asked.
type Nodes interface {
	Size() int
	Node(i int) (node backend.Node, name string)
	Need() int // how many make a quorum
}

// each asks a question of all nodes at once, and gives each answer to take, with how long
// it took. It returns nil when take returns false, when all have answered, or when over
// fires. If ctx ends before, it returns the error of ctx.
func each[A any](ctx context.Context, nodes Nodes, over *time.Timer,
	question func(ctx context.Context, i int, node backend.Node) A, take func(i int, a A, latency time.Duration) (more bool),
) error {
	type answer struct {
		node    int
		answer  A
		latency time.Duration
	}
	answers := make(chan answer, nodes.Size())
	start := time.Now()
	for i := range cap(answers) {
		node, _ := nodes.Node(i)
		go func() {
			// Longer than each waits, because the next call can use a connection that is being made.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sender.CallTimeout)
			defer cancel()
			a := question(ctx, i, node)
			answers <- answer{i, a, time.Since(start)}
		}()
	}
	for range cap(answers) {
		select {
		case a := <-answers:
			if !take(a.node, a.answer, a.latency) {
				return nil
			}
		case <-over.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

var (
	errNoScripts = fmt.Errorf("the node runs no scripts (it is not a backend.Scripter), so it cannot be inspected: %w", errors.ErrUnsupported)
	errNoAnswer  = fmt.Errorf("no answer within the node timeout: %w", context.DeadlineExceeded)
)

// ask asks one node. If it rejects the key of the queue, because the user has no right to
// it or the slot of the keys is being moved, ask asks about the lock alone.
func ask(ctx context.Context, node backend.Node, request proto.Inspect) (proto.Inspected, error) {
	if _, ok := backend.As[backend.Scripter](node); !ok {
		return proto.Inspected{Waiting: proto.NotKnown}, errNoScripts
	}
	res := request.Op().Do(ctx, node)
	if request.Queue != "" && (errors.Is(res.Err, backend.ErrRefused) || errors.Is(res.Err, backend.ErrMigrating)) {
		request.Queue = ""
		res = request.Op().Do(ctx, node)
	}
	if res.Err != nil {
		return proto.Inspected{Waiting: proto.NotKnown}, res.Err
	}
	return proto.ReadInspect(res.Reply)
}
