package inspect

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// Most is how many waiters, or readers, each node is asked to name.
const Most = 100

// A finding is what one node answered.
type finding struct {
	proto.Inspected
	node    string
	latency time.Duration // until it answered, or how long it was waited for
	err     error         // why there is no answer
}

// askAll asks all nodes about a lock and its queue, which may be empty.
func askAll(ctx context.Context, nodes Nodes, key, queue string, timeout time.Duration) ([]finding, error) {
	all := make([]finding, nodes.Size())
	for i := range all {
		_, name := nodes.Node(i)
		all[i] = finding{proto.Inspected{Waiting: proto.NotKnown}, name, timeout, errNoAnswer} // until it answers
	}
	request := proto.Inspect{Lock: key, Queue: queue, Most: Most}
	over := time.NewTimer(timeout)
	defer over.Stop()
	err := each(ctx, nodes, over, func(ctx context.Context, _ int, node backend.Node) (f finding) {
		f.Inspected, f.err = ask(ctx, node, request)
		return f
	}, func(i int, f finding, latency time.Duration) bool {
		f.node, f.latency = all[i].node, latency
		all[i] = f
		return true
	})
	return all, err
}

// vote returns the finding as the vote of the node in a round that deletes nothing there.
func (f *finding) vote() round.Vote {
	v := round.Vote{Outcome: round.NotHeld, Latency: f.latency, Err: f.err}
	switch {
	case errors.Is(f.err, context.DeadlineExceeded):
		v.Outcome = round.TimedOut
	case f.err != nil:
		v.Outcome = round.Failed
	case f.Found:
		v.Outcome = round.Taken
	}
	return v
}
