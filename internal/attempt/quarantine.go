package attempt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// CanQuarantine returns an error that names a node that cannot be in quarantine, or nil.
func (ns *Nodes) CanQuarantine() error {
	for _, m := range ns.Members {
		switch {
		case !m.Queueing.Scripts:
			return fmt.Errorf("no quarantine: %s does not run scripts (backend.Scripter): %w", m.Name, errors.ErrUnsupported)
		case len(m.Parts) > 1:
			return fmt.Errorf("no quarantine: %s is a cluster, which cannot have one, because a loss of data on one of its servers does not show on the others; do without, or use independent servers: %w",
				m.Name, errors.ErrUnsupported)
		}
	}
	return nil
}

// Mark tells every node that it has lost nothing, which ends a quarantine. It returns the
// outcome for each node: Granted, Failed or TimedOut. It returns when ctx ends, at the
// latest, and within [sender.CallTimeout].
func (ns *Nodes) Mark(ctx context.Context) []round.Vote {
	ctx, cancel := context.WithTimeout(ctx, sender.CallTimeout)
	defer cancel()
	votes := make([]round.Vote, len(ns.Members))
	start := time.Now()
	var all sync.WaitGroup
	for i, m := range ns.Members {
		all.Go(func() {
			err := ns.mark(ctx, m.Node)
			votes[i] = round.Vote{Outcome: round.Granted, Latency: time.Since(start), Err: err}
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				votes[i].Outcome = round.TimedOut
			case err != nil:
				votes[i].Outcome = round.Failed
			}
		})
	}
	all.Wait()
	return votes
}

// mark tells one node. If the connection breaks, mark repeats it once, because the
// connection may be older than the last restart of the server.
func (ns *Nodes) mark(ctx context.Context, n backend.Node) error {
	op := proto.Mark{Marker: ns.Config.Marker}.Op()
	r := op.Do(ctx, n)
	if cutOff(r.Err) && ctx.Err() == nil {
		r = op.Do(ctx, n)
	}
	return r.Err
}

// quarantined reports whether the current operation, an acquire or a raise, is subject to
// the quarantine.
func (s *nodeState) quarantined() bool {
	return s.attempt.nodes.Config.Quarantine > 0 && (s.rejoin == nil || !s.rejoin.sure)
}

// check makes the node check, at the start of the current acquire or raise, whether it
// may have lost what it had granted. Only the node can do this. A client may not have
// seen the restart, and a restart may come between a client's check and the next
// operation.
func (s *nodeState) check() proto.Check {
	if !s.quarantined() {
		return proto.Check{}
	}
	cfg := &s.attempt.nodes.Config
	return proto.Check{Marker: cfg.Marker, Quarantine: cfg.Quarantine}
}

// explainCrossSlot explains a CROSSSLOT error: the server belongs to a Cluster, and the marker is
// in another slot than the lock.
func (ns *Nodes) explainCrossSlot(err error) error {
	if ns.Config.Quarantine > 0 && strings.HasPrefix(strings.TrimPrefix(err.Error(), "-"), "CROSSSLOT ") {
		return fmt.Errorf("no quarantine on a server of a cluster, which looks at no marker beside a lock: %w", err)
	}
	return err
}
