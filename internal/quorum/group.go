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

// Config configures a [Group].
type Config struct {
	// Need is how many nodes make a quorum; 0 means a majority. NewGroup rejects less
	// than a majority.
	Need int

	// Abandoned, if set, is called when a node refuses to delete a token, so that tokens
	// of this process may remain there until they expire. key is the first such token's
	// key. It is called once for each node, and again, after a minute at the earliest, if
	// the node has deleted tokens in between. It must not block, and is called
	// concurrently.
	Abandoned func(node, key string, err error)

	// Inbox, if set, returns a new name for the channel on which nodes notify the group
	// of free locks. If it is not set, waiters poll.
	Inbox func() string

	// Polls, if set, is called once for each node on which waiters have to poll, with the
	// reason. It must not block, and is called concurrently.
	Polls func(node string, err error)

	// Foreign, if set, reports whether a lock's value is from another library, whose
	// holders notify nobody. owner is the last 32 bytes of the value.
	Foreign func(owner string) bool

	// Announce, if set, returns the channel on which the release of key is also announced
	// to waiters of another library, with the message "ok".
	Announce func(key string) string

	// CounterLife is how long the counters of fencing tokens are kept after their last
	// use, in whole milliseconds; 0 means forever.
	CounterLife time.Duration

	// Quarantine is how long a node grants no lock after it may have lost what it had
	// granted, in whole milliseconds; 0 means that nodes do not check. Marker is the key
	// by which a node can tell.
	Quarantine time.Duration
	Marker     string

	// Drift returns how far the clocks of a node and of the client may drift apart during
	// a TTL, plus the precision with which nodes count. nil means 1 % and 2 ms.
	Drift func(ttl time.Duration) time.Duration

	// Clock is the clock with which clocks of nodes are compared; nil means the system's.
	Clock *Clock
}

// A Group is a set of independent nodes and the number of them that decides. Its methods
// may be called concurrently.
type Group struct {
	members []*member
	need    int
	cfg     Config

	cleanup   tracker
	locals    localQueues
	deadlines deadlineTimer
	budget    *budget
	releases  gate
	made      time.Time
	shared    *sender.Shared
}

// NewGroup checks nodes and makes a group of them. It does no I/O. It rejects an empty
// list, a nil node, and a node that is listed twice, because it would vote twice: the
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
	g.releases.trip = g.shortest
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
		if reflect.ValueOf(n).Comparable() { // the value: a field may hold something that is not
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

// Node returns node i and its name in messages, which may become more exact later.
func (g *Group) Node(i int) (backend.Node, string) {
	return g.members[i].node, g.members[i].name.String()
}

// Wait waits until no cleanup is under way: every released token is known to be gone from
// every node, or can no longer be alive there. If ctx ends first, Wait returns its error,
// and the cleanup continues.
func (g *Group) Wait(ctx context.Context) error { return g.cleanup.wait(ctx) }

// Close closes the inbox for good, and then wakes every waiter that competes. From then
// on waiters poll. The order matters: a waiter that tries again before the inbox is
// closed would rely on being notified, and sleep.
func (g *Group) Close() {
	g.locals.closeInbox(true)
	g.locals.wakeAll(true)
}

// near returns the current round trip to the farthest of the nearest nodes that make a
// quorum; 0 if it is not known.
func (g *Group) near() time.Duration {
	trips := g.trips()
	return trips[g.need-1]
}

// farthest returns the current round trip to the farthest node.
func (g *Group) farthest() time.Duration {
	var farthest time.Duration
	for _, l := range g.members {
		farthest = max(farthest, l.trip(true))
	}
	return farthest
}

// shortest returns the shortest recent round trip to the farthest node. Unlike the
// current one, it shows the distance and not the load.
func (g *Group) shortest() time.Duration {
	var farthest time.Duration
	for _, m := range g.members {
		farthest = max(farthest, m.shortest())
	}
	return farthest
}

// trips returns the current round trips to all nodes, in ascending order.
func (g *Group) trips() []time.Duration {
	trips := make([]time.Duration, len(g.members))
	for i, l := range g.members {
		trips[i] = l.trip(false)
	}
	slices.Sort(trips)
	return trips
}

// Cleanups returns how many node states are being cleaned up.
func (g *Group) Cleanups() int { return g.cleanup.count() }

// Answered returns when a quorum of nodes last answered an acquire of this group, or when
// the group was made if that has not happened yet. Of a Cluster, only the part that has
// key counts.
func (g *Group) Answered(key string) time.Time {
	last := make([]int64, len(g.members))
	for i, m := range g.members {
		last[i] = m.of(key).acquires.Load()
	}
	slices.Sort(last)
	return g.made.Add(time.Duration(last[len(last)-g.need]))
}
