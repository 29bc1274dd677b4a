package quorum

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// Config says how a [Group] works.
type Config struct {
	// Need is how many nodes make a quorum; 0 means a majority. Less than a
	// majority is refused.
	Need int

	// Abandoned, if set, is told of a node on which tokens of ours may be left until
	// they expire, because the node refuses to delete them, with the first of them. It
	// is told once, and again if the node has deleted some meanwhile, a minute later at
	// the earliest. It must not block, and is called concurrently.
	Abandoned func(node, key string, err error)

	// Inbox, if set, returns a new name for a channel on which the group is called
	// when a lock that it waits for is free. If it is not set, waiters poll.
	Inbox func() string

	// Polls, if set, is told once of each node on which waiters have to poll, and
	// why. It must not block, and is called concurrently.
	Polls func(node string, err error)

	// Foreign, if set, reports whether what a lock holds is of another library, which notifies
	// nobody. It is given the last 32 bytes.
	Foreign func(owner string) bool

	// Announce, if set, returns for a key the channel on which its release is
	// announced besides, for waiters of another library, with the message "ok".
	Announce func(key string) string

	// CounterLife is for how long the counters of fencing tokens are kept after
	// they were last used, in whole milliseconds; 0 means for ever.
	CounterLife time.Duration

	// Quarantine is for how long a node votes for no lock after it may have lost what it
	// had granted, in whole milliseconds; 0 means that it is not asked to look. Marker is
	// the key on each node by which it can tell.
	Quarantine time.Duration
	Marker     string

	// Drift returns what the clocks of a node and of the client may gain on each other
	// during a TTL, and how exactly nodes count; nil means 1 % and 2 ms.
	Drift func(ttl time.Duration) time.Duration

	// Clock is what the clocks of nodes are compared with; nil means the system's.
	Clock *Clock
}

// A Group is a set of independent nodes and the number of them that decides.
// Its methods may be called concurrently.
type Group struct {
	members []*member
	need    int
	cfg     Config

	cleanup  tracker
	lines    lines
	vigil    vigil
	budget   *budget
	releases gate
	made     time.Time
	shared   *sender.Shared
}

// NewGroup checks nodes and makes a group of them, without I/O. It refuses an
// empty list, a nil node, and the same node twice, which would vote twice: the
// same value, or two nodes with the same name.
func NewGroup(nodes []backend.Node, cfg Config) (*Group, error) {
	if len(nodes) == 0 {
		return nil, errors.New("no nodes: at least one is needed")
	}
	if cfg.Drift == nil {
		cfg.Drift = func(ttl time.Duration) time.Duration { return ttl/100 + 2*time.Millisecond }
	}
	majority := len(nodes)/2 + 1
	if cfg.Need == 0 {
		cfg.Need = majority
	}
	if cfg.Need < majority || cfg.Need > len(nodes) {
		return nil, fmt.Errorf("a quorum of %d of %d nodes: must be a majority, from %d to %d", cfg.Need, len(nodes), majority, len(nodes))
	}
	g := &Group{need: cfg.Need, cfg: cfg, shared: sender.NewShared(len(nodes)), budget: newBudget(), made: time.Now()}
	g.releases.trip = g.farthest
	position := make(map[any]int)
	for i, n := range nodes {
		if isNil(n) {
			return nil, fmt.Errorf("node %d is nil", i)
		}
		label := newLabel(n, i)
		var identities []any
		if name, ok := nameOf(n); ok {
			identities = append(identities, name)
		}
		if reflect.ValueOf(n).Comparable() { // the value: a field may hold what is not
			identities = append(identities, n)
		}
		for _, id := range identities {
			if j, dup := position[id]; dup {
				return nil, fmt.Errorf("nodes %d and %d are the same, %s: a node must not vote twice", j, i, label)
			}
			position[id] = i
		}
		g.members = append(g.members, newMember(g, n, label))
	}
	return g, nil
}

// isNil reports whether n is nil, or an interface that holds a nil pointer.
func isNil(n backend.Node) bool {
	if n == nil {
		return true
	}
	v := reflect.ValueOf(n)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// Size returns the number of nodes.
func (g *Group) Size() int { return len(g.members) }

// Need returns how many nodes make a quorum.
func (g *Group) Need() int { return g.need }

// Node returns node i and what to call it, which may become more exact later.
func (g *Group) Node(i int) (backend.Node, string) {
	return g.members[i].node, g.members[i].name.String()
}

// Wait waits until no cleanup is under way: until every token that was released
// is known to be gone from every node, or can no longer be alive there. If ctx
// ends before, it returns ctx's error, and the cleanup goes on.
func (g *Group) Wait(ctx context.Context) error { return g.cleanup.wait(ctx) }

// Close closes the inbox for good, and then wakes every waiter that competes. From then
// on waiters poll. The order matters: a waiter that tried again before the inbox is closed
// would count on being called, and sleep.
func (g *Group) Close() {
	g.lines.closeInbox(true)
	g.lines.stir(true)
}

// near returns how long a round trip to the nearest nodes that make a quorum
// takes at present; 0 if that is not known.
func (g *Group) near() time.Duration {
	trips := g.trips()
	return trips[g.need-1]
}

// farthest returns how long a round trip to the farthest node takes at present.
func (g *Group) farthest() time.Duration {
	var farthest time.Duration
	for _, l := range g.members {
		farthest = max(farthest, l.trip(true))
	}
	return farthest
}

// trips returns how long round trips to the nodes take at present, in ascending
// order.
func (g *Group) trips() []time.Duration {
	trips := make([]time.Duration, len(g.members))
	for i, l := range g.members {
		trips[i] = l.trip(false)
	}
	slices.Sort(trips)
	return trips
}

// Cleanups returns how many nodes' seats are being cleaned up.
func (g *Group) Cleanups() int { return g.cleanup.count() }

// Answered returns when a quorum of nodes, or of the parts of them that have key, last
// answered an acquire of this group; when the group was made if that has not been yet.
func (g *Group) Answered(key string) time.Time {
	last := make([]int64, len(g.members))
	for i, m := range g.members {
		last[i] = m.of(key).acquires.Load()
	}
	slices.Sort(last)
	return g.made.Add(time.Duration(last[len(last)-g.need]))
}
