package quorum

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/member"
)

// outageOf returns the outage of the nodes that have key. If a node is a Cluster, it is
// that of the part which has key.
func (g *Group) outageOf(key string) *member.Outage {
	for _, m := range g.Members {
		if len(m.Parts) > 1 {
			return &m.Of(key).Outage
		}
	}
	return &g.Members[0].Outage
}

// noteOutage notes that an attempt for key, which began at start, has just found too many
// nodes unavailable.
func (g *Group) noteOutage(key string, start time.Time) {
	g.outageOf(key).Note(start, g.Answered(key))
}

// outageSince returns since when all attempts of this process have found the nodes that have
// key unavailable. It returns the zero time if the last attempt was answered, or is too
// long ago to say anything about now.
func (g *Group) outageSince(key string) time.Time {
	return g.outageOf(key).Since(func() time.Time { return g.Answered(key) })
}
