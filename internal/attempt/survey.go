package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// A Survey is how long each slot of a lock is taken on each node: by node, and then by
// slot, from slot 1. Nothing is known about a node that has no slots here.
type Survey [][]time.Duration

// Survey asks all nodes at once about n slots of the permits with that name. Slots that
// are reserved for the ticket, which may be empty, are free. It returns when all nodes
// have answered that are not known to be away, at the latest after timeout, or when ctx
// ends. Once a quorum has answered, it waits for the others about as long as that took. The
// votes say which nodes have answered, and why the others have not.
//
// It asks the nodes directly, beside the senders. It changes nothing, so its order among
// other requests does not matter, except that it follows what has been answered before.
func (ns *Nodes) Survey(ctx context.Context, name string, n int, ticket string, timeout time.Duration) (Survey, []round.Vote) {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = proto.SlotKey(name, i+1)
	}
	request := proto.Slots{Keys: keys, Ticket: ticket}
	op := request.Op()
	type answer struct {
		node  int
		taken []time.Duration
		vote  round.Vote
	}
	s, votes, answers := make(Survey, ns.Size()), make([]round.Vote, ns.Size()), make(chan answer, ns.Size())
	pending, start := 0, time.Now()
	for i, m := range ns.Members {
		if !m.Queueing.Scripts {
			votes[i] = round.Vote{Outcome: round.Failed, Err: errNoSlots}
			continue
		}
		if away := m.Of(name).Sender.Away(); away != nil {
			votes[i] = round.Vote{Outcome: round.Failed, Err: away}
			continue
		}
		pending++
		go func() {
			// As long as any call, because the next one can use a connection that is being made.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sender.CallTimeout)
			defer cancel()
			a := answer{node: i, vote: round.Vote{Outcome: round.Granted}}
			res := op.Do(ctx, m.Node)
			err := res.Err
			if err == nil {
				a.taken, err = proto.ReadSlots(res.Reply, n)
			}
			a.vote.Latency, a.vote.Err = time.Since(start), err
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				a.vote.Outcome = round.TimedOut
			case err != nil:
				a.vote.Outcome = round.Failed
			}
			answers <- a
		}()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for answered := 0; pending > 0; {
		select {
		case a := <-answers:
			pending--
			votes[a.node] = a.vote
			if s[a.node] = a.taken; a.taken == nil {
				continue
			}
			if answered++; answered == ns.Need() {
				timer.Reset(min(max(time.Since(start), minLinger), timeout))
			}
		case <-timer.C:
			pending = 0
		case <-ctx.Done():
			pending = 0
		}
	}
	for i := range votes {
		if votes[i].Outcome == round.Pending {
			votes[i] = round.Vote{Outcome: round.TimedOut, Latency: time.Since(start), Err: context.DeadlineExceeded}
		}
	}
	return s, votes
}

var errNoSlots = fmt.Errorf("the node runs no scripts (it is not a backend.Scripter), so it has no permits: %w", errors.ErrUnsupported)

// Size returns the number of slots, or 0 if no node has answered.
func (s Survey) Size() int {
	n := 0
	for _, taken := range s {
		n = max(n, len(taken))
	}
	return n
}

// Free returns the slots that are free on at least need nodes.
func (s Survey) Free(need int) (free []int) {
	for slot := 1; slot <= s.Size(); slot++ {
		n := 0
		for _, taken := range s {
			if taken != nil && taken[slot-1] == proto.Free {
				n++
			}
		}
		if n >= need {
			free = append(free, slot)
		}
	}
	return free
}

// Taken returns the slots that are not free on every node that has answered.
func (s Survey) Taken() (slots []int) {
	for slot := 1; slot <= s.Size(); slot++ {
		if slices.ContainsFunc(s, func(taken []time.Duration) bool { return taken != nil && taken[slot-1] != proto.Free }) {
			slots = append(slots, slot)
		}
	}
	return slots
}
