package inspect

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A Survey is how long each slot of a lock is taken on each node: by node, and then by
// slot, from slot 1. Nothing is known about a node that has no slots here.
type Survey [][]time.Duration

// SlotNodes are nodes that are asked about slots.
type SlotNodes interface {
	Nodes

	// NoSlots returns why node i is not asked about the slots of the permits with that name,
	// or nil: it cannot have any, or is known to be away.
	NoSlots(i int, name string) error
}

// minLinger is how long Slots waits at least for the other nodes once a quorum has answered.
const minLinger = 2 * time.Millisecond

// Slots asks all nodes at once about n slots of the permits with that name. Slots that are
// reserved for the ticket, which may be empty, are free. It returns when all nodes have
// answered that can be asked, after timeout, or when ctx ends. Once a quorum has answered,
// it waits for the others only for about as long again. The votes say which nodes have
// answered, and why the others have not.
func Slots(ctx context.Context, nodes SlotNodes, name string, n int, ticket string, timeout time.Duration) (Survey, []round.Vote) {
	type answer struct {
		taken []time.Duration
		vote  round.Vote
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = proto.SlotKey(name, i+1)
	}
	request := proto.Slots{Keys: keys, Ticket: ticket}
	op := request.Op()
	s, votes, answered := make(Survey, nodes.Size()), make([]round.Vote, nodes.Size()), 0
	start := time.Now()
	over := time.NewTimer(timeout)
	defer over.Stop()
	_ = each(ctx, nodes, over, func(ctx context.Context, i int, node backend.Node) (a answer) {
		if a.vote.Err = nodes.NoSlots(i, name); a.vote.Err != nil {
			a.vote.Outcome = round.Failed
			return a
		}
		res := op.Do(ctx, node)
		err := res.Err
		if err == nil {
			a.taken, err = proto.ReadSlots(res.Reply, n)
		}
		a.vote = round.Vote{Outcome: round.Granted, Latency: time.Since(start), Err: err}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			a.vote.Outcome = round.TimedOut
		case err != nil:
			a.vote.Outcome = round.Failed
		}
		return a
	}, func(i int, a answer, _ time.Duration) bool {
		s[i], votes[i] = a.taken, a.vote
		if a.taken != nil {
			if answered++; answered == nodes.Need() {
				took := time.Since(start)
				over.Reset(max(0, min(max(took, minLinger), timeout-took)))
			}
		}
		return true
	})
	for i := range votes {
		if votes[i].Outcome == round.Pending {
			votes[i] = round.Vote{Outcome: round.TimedOut, Latency: time.Since(start), Err: context.DeadlineExceeded}
		}
	}
	return s, votes
}

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
