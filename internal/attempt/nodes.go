package attempt

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/limit"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/tracker"
)

// An Answer is what a node answered to one request.
type Answer struct {
	Node int // its place among the nodes
	Kind round.Kind
	Vote round.Vote // Rejoined is not set
}

// Config configures [Nodes].
type Config struct {
	// Need is how many nodes make a quorum; 0 means a majority. NewNodes rejects less than
	// a majority.
	Need int

	// Abandoned, if set, is called when a node refuses to delete a token, so that tokens
	// of this process may remain there until they expire. key is the first such token's
	// key. It is called once for each node, and again, after a minute at the earliest, if
	// the node has deleted tokens in between. It must not block, and is called
	// concurrently.
	Abandoned func(node, key string, err error)

	// Answered, if set, is called with the answer of a node to each request that was sent,
	// also when no round waits for it any more. It must not block, and is called
	// concurrently, with nothing locked.
	Answered func(Answer)

	// Polls, if set, is called once for each node on which waiters have to poll, with the
	// reason. It must not block, and is called concurrently.
	Polls func(node string, err error)

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
	Clock *clock.Clock
}

// Nodes is a set of independent nodes, and what all attempts on them share. Its methods
// may be called concurrently.
type Nodes struct {
	Members []*member.Member
	Config  Config // with the defaults of what was not set

	queues    Queues
	cleanup   tracker.Tracker
	deadlines round.Deadlines
	releases  *limit.Gate
	made      time.Time
	shared    *sender.Shared
}

// NewNodes checks nodes and makes a set of them. It does no I/O. It rejects an empty
// list, a nil node, and a node that is listed twice, because it would vote twice: the
// same value, or two nodes with the same name. queues is told of attempts that end; nil
// means nobody.
func NewNodes(nodes []backend.Node, cfg Config, queues Queues) (*Nodes, error) {
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
	ns := &Nodes{Config: cfg, queues: queues, shared: sender.NewShared(len(nodes)), made: time.Now()}
	ns.releases = limit.NewGate(ns.shortest)
	position := make(map[any]int)
	for i, n := range nodes {
		if isNil(n) {
			return nil, fmt.Errorf("node %d is nil", i)
		}
		m := member.New(ns.shared, n, i, cfg.Polls)
		var identities []any
		if name, ok := member.NameOf(n); ok {
			identities = append(identities, name)
		}
		if reflect.ValueOf(n).Comparable() { // the value: a field may hold something that is not
			identities = append(identities, n)
		}
		for _, id := range identities {
			if j, dup := position[id]; dup {
				return nil, fmt.Errorf("nodes %d and %d are the same, %s: a node must not vote twice", j, i, m.Name)
			}
			position[id] = i
		}
		ns.Members = append(ns.Members, m)
	}
	return ns, nil
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
func (ns *Nodes) Size() int { return len(ns.Members) }

// Need returns how many nodes make a quorum.
func (ns *Nodes) Need() int { return ns.Config.Need }

// Node returns node i and its name in messages, which may become more exact later.
func (ns *Nodes) Node(i int) (backend.Node, string) {
	return ns.Members[i].Node, ns.Members[i].Name.String()
}

// Wait waits until no cleanup is under way: every released token is known to be gone from
// every node, or can no longer be alive there. If ctx ends first, Wait returns its error,
// and the cleanup continues.
func (ns *Nodes) Wait(ctx context.Context) error { return ns.cleanup.Wait(ctx) }

// Cleanups returns how many node states are being cleaned up.
func (ns *Nodes) Cleanups() int { return ns.cleanup.Count() }

// NoSlots returns why node i is not asked about the slots of the permits with that name, or
// nil: it cannot have any, or is known to be away.
func (ns *Nodes) NoSlots(i int, name string) error {
	m := ns.Members[i]
	if !m.Queueing.Scripts {
		return errNoSlots
	}
	return m.Of(name).Sender.Away()
}

var errNoSlots = fmt.Errorf("the node runs no scripts (it is not a backend.Scripter), so it has no permits: %w", errors.ErrUnsupported)

// Near returns the current round trip to the farthest of the nearest nodes that make a
// quorum; 0 if it is not known.
func (ns *Nodes) Near() time.Duration {
	trips := make([]time.Duration, len(ns.Members))
	for i, m := range ns.Members {
		trips[i] = m.Trip(false)
	}
	slices.Sort(trips)
	return trips[ns.Need()-1]
}

// Farthest returns the current round trip to the farthest node.
func (ns *Nodes) Farthest() time.Duration {
	var farthest time.Duration
	for _, m := range ns.Members {
		farthest = max(farthest, m.Trip(true))
	}
	return farthest
}

// shortest returns the shortest recent round trip to the farthest node. Unlike the
// current one, it shows the distance and not the load.
func (ns *Nodes) shortest() time.Duration {
	var farthest time.Duration
	for _, m := range ns.Members {
		farthest = max(farthest, m.Shortest())
	}
	return farthest
}

// Answered returns when a quorum of nodes last answered an acquire, or when the set was
// made if that has not happened yet. Of a Cluster, only the part that has key counts.
func (ns *Nodes) Answered(key string) time.Time {
	last := make([]time.Duration, len(ns.Members))
	for i, m := range ns.Members {
		last[i] = m.Of(key).LastAcquired()
	}
	slices.Sort(last)
	return ns.made.Add(last[len(last)-ns.Need()])
}

// dismiss says that a no longer uses the notifications of its local queue.
func (ns *Nodes) dismiss(a *Attempt) {
	if ns.queues != nil {
		ns.queues.Dismiss(a)
	}
}

// releasing says that a is being released.
func (ns *Nodes) releasing(a *Attempt) {
	if ns.queues != nil {
		ns.queues.Release(a)
	}
}
