package quorum

import (
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// CallTimeout is how long a call on a node may take.
const CallTimeout = sender.CallTimeout

// A member is one node of a group, or one part of a node that is a cluster: how to send
// to it, and what is known of it.
type member struct {
	node     backend.Node
	name     *label
	sender   *sender.Sender
	queueing *queueing
	skew     *skew
	rumours  *rumours
	acquires atomic.Int64 // when it last answered one, since the group was made; 0: never
	releases atomic.Bool  // it is known to run scripts, so it can release what it grants; see proof
	refuses  complaint    // that it refuses to delete
	forgot   complaint    // that a deletion was given up
	outage   outage
	parts    []*member // of a node that has several, m first
}

// newMember returns the member for a node, or for the first of its parts with members for
// all of them.
func newMember(g *Group, n backend.Node, name *label) *member {
	m := &member{node: n, name: name, sender: sender.New(g.shared, n), queueing: newQueueing(g, n, name), skew: new(skew), rumours: new(rumours)}
	m.releases.Store(!m.queueing.scripts)
	p, ok := backend.As[backend.Partitioner](n)
	if !ok {
		return m
	}
	_, parts := p.Partition("")
	if parts < 2 {
		return m
	}
	m.parts, m.skew = []*member{m}, &skew{whole: m.skew}
	for len(m.parts) < parts {
		part := &member{
			node: n, name: name, sender: sender.New(g.shared, n), queueing: m.queueing, skew: &skew{whole: m.skew.whole}, rumours: m.rumours,
		}
		part.releases.Store(m.releases.Load())
		m.parts = append(m.parts, part)
	}
	return m
}

// of returns the member for the operations on key.
func (m *member) of(key string) *member {
	if len(m.parts) < 2 {
		return m
	}
	p, _ := backend.As[backend.Partitioner](m.node)
	part, _ := p.Partition(key)
	return m.parts[part]
}

// trip returns how long a call takes, of late, to the farthest part of the node. Bare
// leaves out what the first call may have taken longer than others.
func (m *member) trip(bare bool) time.Duration {
	trip := m.sender.Trip(bare)
	for _, part := range m.parts[min(1, len(m.parts)):] {
		trip = max(trip, part.trip(bare))
	}
	return trip
}

// away reports whether no part of the node answers.
func (m *member) away() bool {
	away := m.sender.Load().Away
	for _, part := range m.parts[min(1, len(m.parts)):] {
		away = away && part.sender.Load().Away
	}
	return away
}

// maxBacklog is how many operations may wait for a node for it to be sent more that
// nobody here waits for.
const maxBacklog = 64

// mayPass reports whether a notification for key may be passed on to the node. If it is
// not, the lock is free again when the reservation ends.
func (m *member) mayPass(key string) bool {
	return m.rumours.pass(time.Now()) && m.of(key).sender.Load().Waiting() < maxBacklog
}

// complaintAgain is how long after it was told that something is wrong it is told again, if
// it was right in between.
const complaintAgain = time.Minute

// A complaint is something about a node that is told once, and not for each key.
type complaint struct {
	told  atomic.Int64 // when, in Unix nanoseconds; 0: it was not
	right atomic.Bool  // it was, since then
}

// due reports whether it is to be told now.
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

// settled notes that it is right.
func (c *complaint) settled() {
	if c.told.Load() != 0 && !c.right.Load() { // which is rare, and costs nothing else
		c.right.Store(true)
	}
}
