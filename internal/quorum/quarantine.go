package quorum

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// CanQuarantine returns an error that names a node that cannot be in quarantine, or nil.
func (g *Group) CanQuarantine() error {
	for _, l := range g.members {
		switch {
		case !l.queueing.scripts:
			return fmt.Errorf("no quarantine: %s does not run scripts (backend.Scripter): %w", l.name, errors.ErrUnsupported)
		case len(l.parts) > 1:
			return fmt.Errorf("no quarantine: %s is a cluster, whose locks are on other servers than the one that would have the marker: %w",
				l.name, errors.ErrUnsupported)
		}
	}
	return nil
}

// Mark tells every node that it has lost nothing, which ends a quarantine. It returns the
// outcome for each node: Granted, Failed or TimedOut. It returns when ctx ends, at the
// latest, and within [CallTimeout].
func (g *Group) Mark(ctx context.Context) []Vote {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	votes := make([]Vote, len(g.members))
	start := time.Now()
	var all sync.WaitGroup
	for i, l := range g.members {
		all.Go(func() {
			err := g.mark(ctx, l.node)
			votes[i] = Vote{Outcome: Granted, Latency: time.Since(start), Err: err}
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				votes[i].Outcome = TimedOut
			case err != nil:
				votes[i].Outcome = Failed
			}
		})
	}
	all.Wait()
	return votes
}

// mark tells one node. If the connection breaks, mark repeats it once, because the
// connection may be older than the last restart of the server.
func (g *Group) mark(ctx context.Context, n backend.Node) error {
	op := proto.Mark{Marker: g.cfg.Marker}.Op()
	r := op.Do(ctx, n)
	if cutOff(r.Err) && ctx.Err() == nil {
		r = op.Do(ctx, n)
	}
	return r.Err
}

// quarantined reports whether the current operation, an acquire or a raise, is subject to
// the quarantine.
func (s *nodeState) quarantined() bool {
	return s.attempt.group.cfg.Quarantine > 0 && (s.rejoin == nil || !s.rejoin.sure)
}

// check makes the node check, at the start of the current acquire or raise, whether it
// may have lost what it had granted. Only the node can do this. A client may not have
// seen the restart, and a restart may come between a client's check and the next
// operation.
func (s *nodeState) check() proto.Check {
	if !s.quarantined() {
		return proto.Check{}
	}
	cfg := &s.attempt.group.cfg
	return proto.Check{Marker: cfg.Marker, Quarantine: cfg.Quarantine}
}

// explainCrossSlot explains a CROSSSLOT error: the server belongs to a Cluster, and the marker is
// in another slot than the lock.
func (g *Group) explainCrossSlot(err error) error {
	if g.cfg.Quarantine > 0 && strings.HasPrefix(strings.TrimPrefix(err.Error(), "-"), "CROSSSLOT ") {
		return fmt.Errorf("no quarantine on a server of a cluster, which looks at no marker beside a lock: %w", err)
	}
	return err
}
