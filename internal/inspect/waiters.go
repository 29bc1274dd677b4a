package inspect

import (
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// A Waiter is one of those in the queue.
type Waiter struct {
	Owner, Fingerprint string
	Waited             time.Duration // the median of the nodes, or proto.NotKnown
}

// waiterOf returns the waiter of a ticket, and whether ticket is one.
func waiterOf(ticket string) (Waiter, bool) {
	t, ok := proto.ParseTicket(ticket)
	if !ok {
		return Waiter{}, false
	}
	return Waiter{proto.OwnerOf(proto.InboxName(t.Channel)), proto.Fingerprint(ticket), proto.NotKnown}, true
}

// waiters returns the number of waiters, NotKnown if no node could tell, and the waiters,
// ordered by the best place that each has on any node.
func waiters(findings []finding) (count int, list []Waiter) {
	count = proto.NotKnown
	longest := 0
	for _, f := range findings {
		count, longest = max(count, f.Waiting), max(longest, len(f.Tickets))
	}
	seen := make(map[string]bool)
	for rank := range longest {
		for _, f := range findings {
			if rank >= len(f.Tickets) || seen[f.Tickets[rank]] {
				continue
			}
			seen[f.Tickets[rank]] = true
			if w, ok := waiterOf(f.Tickets[rank]); ok {
				w.Waited = waited(f.Tickets[rank], findings)
				list = append(list, w)
			}
		}
	}
	if count >= 0 {
		count = max(count, len(list))
	}
	return count, list
}

// waited returns how long the waiter of a ticket has waited. It is the median of the
// answers, because the clock of a node may have been set.
func waited(ticket string, findings []finding) time.Duration {
	var all []time.Duration
	for _, f := range findings {
		if i := slices.Index(f.Tickets, ticket); i >= 0 {
			all = append(all, f.Waited[i])
		}
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}
