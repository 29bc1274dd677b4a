package inspect

import (
	"context"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A Found is where one holder has a lock.
type Found struct {
	Token  string       // of the holder; "" if no node that answered has the lock for it
	Shared bool         // it reads, on a node at least
	Holds  []bool       // which nodes have the lock for it
	Votes  []round.Vote // what each node has: Taken is anybody's lock

	Answered int  // how many nodes did
	More     bool // a node has more readers than the [Most] that it has named
}

// Find asks the nodes which of them have the lock key for the holder with the fingerprint.
// The error is that of ctx.
func Find(ctx context.Context, nodes Nodes, key, fingerprint string, timeout time.Duration) (Found, error) {
	findings, err := askAll(ctx, nodes, key, "", timeout)
	if err != nil {
		return Found{}, err
	}
	sets, err := readers(ctx, nodes, key, findings, timeout)
	if err != nil {
		return Found{}, err
	}
	found := Found{Holds: make([]bool, len(findings))}
	for i, f := range findings {
		found.Votes = append(found.Votes, f.vote())
		if f.err == nil {
			found.Answered++
		}
		if lock := f.lock(); lock.State == Held && lock.Fingerprint == fingerprint {
			found.Token, found.Holds[i] = f.Value, true
		}
		if !f.shared() {
			continue
		}
		for _, reader := range sets[i].tokens() {
			if proto.Fingerprint(reader) == fingerprint {
				found.Token, found.Holds[i], found.Shared = reader, true, true
			}
		}
	}
	found.More = slices.ContainsFunc(sets, func(f finding) bool { return f.shared() && f.Waiting > len(f.Tickets) })
	return found, nil
}
