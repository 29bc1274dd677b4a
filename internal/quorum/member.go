package quorum

import (
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// CallTimeout is the maximum duration of a call on a node.
const CallTimeout = sender.CallTimeout

// A member is one node of a group, or one part of a node that is a Cluster: its sender,
// and what is known about it.
type member struct {
	node     backend.Node
	name     *label
	sender   *sender.Sender
	queueing *queueing
	clock    *clockOffset
	rumours  *rumours
	acquires atomic.Int64 // its last answer to an acquire, since the group was made; 0: none
	releases atomic.Bool  // it is known to run scripts, so it can release what it grants; see proof.go
	refuses  complaint    // it refuses to delete
	forgot   complaint    // a deletion was given up
	outage   outage
	parts    []*member // of a node with several parts; m is the first
}

// newMember returns the member for a node. If the node has parts, it returns the first
// part's member, which has the members for all of them.
func newMember(g *Group, n backend.Node, name *label) *member {
	m := &member{node: n, name: name, sender: sender.New(g.shared, n), queueing: newQueueing(g, n, name), clock: new(clockOffset), rumours: new(rumours)}
	m.releases.Store(!m.queueing.scripts)
	p, ok := backend.As[backend.Partitioner](n)
	if !ok {
		return m
	}
	_, parts := p.Partition("")
	if parts < 2 {
		return m
	}
	m.parts, m.clock = []*member{m}, &clockOffset{whole: m.clock}
	for len(m.parts) < parts {
		part := &member{
			node: n, name: name, sender: sender.New(g.shared, n), queueing: m.queueing, clock: &clockOffset{whole: m.clock.whole}, rumours: m.rumours,
		}
		part.releases.Store(m.releases.Load())
		m.parts = append(m.parts, part)
	}
	return m
}

// of returns the member for operations on key.
func (m *member) of(key string) *member {
	if len(m.parts) < 2 {
		return m
	}
	p, _ := backend.As[backend.Partitioner](m.node)
	part, _ := p.Partition(key)
	return m.parts[part]
}

// trip returns the current duration of a call on the farthest part of the node. With
// bare, the extra time of a first call is left out.
func (m *member) trip(bare bool) time.Duration {
	trip := m.sender.Trip(bare)
	for _, part := range m.parts[min(1, len(m.parts)):] {
		trip = max(trip, part.trip(bare))
	}
	return trip
}

// shortest returns the duration of the shortest recent call on the farthest part.
func (m *member) shortest() time.Duration {
	shortest := m.sender.Shortest()
	for _, part := range m.parts[min(1, len(m.parts)):] {
		shortest = max(shortest, part.shortest())
	}
	return shortest
}

// away reports whether no part of the node answers.
func (m *member) away() bool {
	away := m.sender.Load().Away
	for _, part := range m.parts[min(1, len(m.parts)):] {
		away = away && part.sender.Load().Away
	}
	return away
}

// maxBacklog is how many operations may wait for a node before notifications that nobody
// here waits for are no longer passed on.
const maxBacklog = 64

// mayPass reports whether a notification for key may be passed on to the node. If not,
// the lock is free again when the reservation ends.
func (m *member) mayPass(key string) bool {
	return m.rumours.pass(time.Now()) && m.of(key).sender.Load().Waiting() < maxBacklog
}

// complaintAgain is the minimum time between two reports of the same problem. A problem
// is reported again only if it was gone in between.
const complaintAgain = time.Minute

// A complaint is a problem with a node that is reported once, and not for each key.
type complaint struct {
	told  atomic.Int64 // when it was reported, in Unix nanoseconds; 0: never
	right atomic.Bool  // the problem was gone since then
}

// due reports whether the problem should be reported now.
func (c *complaint) due(now time.Time) bool {
	told := c.told.Load()
	if told != 0 && (!c.right.Load() || now.UnixNano()-told < int64(complaintAgain)) {
		return false
	}
	if !c.told.CompareAndSwap(told, now.UnixNano()) {
		return false
	}
	c.right.Store(false)
	return true
}

// settled notes that the problem is gone.
func (c *complaint) settled() {
	if c.told.Load() != 0 && !c.right.Load() { // rarely true; the common case only reads
		c.right.Store(true)
	}
}
