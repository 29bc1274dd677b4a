// Package member has what is known about one node, whatever the lock: its name, the sender of
// its operations, whether it runs scripts and queues waiters, and how long it has been away.
// All attempts of a group share it.
package member

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// A Member is one node of a group, or one part of a node that is a Cluster: its sender,
// and what is known about it. Its methods may be called concurrently.
type Member struct {
	Node     backend.Node
	Name     fmt.Stringer // in messages; it may become more exact later
	Sender   *sender.Sender
	Queueing *Queueing
	Clock    *clock.Offset // only the speed of votes depends on it
	Rumours  *notify.Rumours
	Releases atomic.Bool  // it is known to run scripts, so it can release what it grants
	Keeps    *atomic.Bool // it has refused a deletion, and has not shown since then that it deletes
	Refuses  *Complaint   // the report that it refuses to delete
	Forgot   *Complaint   // a deletion was given up
	Outage   Outage
	Parts    []*Member // of a node with several parts; the Member itself is the first

	acquires atomic.Int64 // see Acquired
}

// New returns the Member for the node at a position of the group. If the node has parts,
// it returns the first part's Member, which has the members for all of them. polls, which
// may be nil, is called once if waiters have to poll on the node.
func New(shared *sender.Shared, n backend.Node, position int, polls func(node string, err error)) *Member {
	name := newLabel(n, position)
	m := &Member{
		Node: n, Name: name, Sender: sender.New(shared, n), Queueing: newQueueing(n, name, polls), Clock: new(clock.Offset), Rumours: new(notify.Rumours),
		Keeps: new(atomic.Bool), Refuses: new(Complaint), Forgot: new(Complaint),
	}
	m.Releases.Store(!m.Queueing.Scripts)
	p, ok := backend.As[backend.Partitioner](n)
	if !ok {
		return m
	}
	_, parts := p.Partition("")
	if parts < 2 {
		return m
	}
	whole := m.Clock
	m.Parts, m.Clock = []*Member{m}, whole.Part()
	for len(m.Parts) < parts {
		part := &Member{
			Node: n, Name: name, Sender: sender.New(shared, n), Queueing: m.Queueing, Clock: whole.Part(), Rumours: m.Rumours,
			Keeps: m.Keeps, Refuses: m.Refuses, Forgot: m.Forgot,
		}
		part.Releases.Store(m.Releases.Load())
		m.Parts = append(m.Parts, part)
	}
	return m
}

// Acquired notes that the node has answered an acquire, at a time that counts from when
// the group was made.
func (m *Member) Acquired(since time.Duration) { m.acquires.Store(int64(since)) }

// LastAcquired returns the time of the last call of Acquired, or 0 if there was none.
func (m *Member) LastAcquired() time.Duration { return time.Duration(m.acquires.Load()) }

// Of returns the Member for operations on key.
func (m *Member) Of(key string) *Member {
	if len(m.Parts) < 2 {
		return m
	}
	p, _ := backend.As[backend.Partitioner](m.Node)
	part, _ := p.Partition(key)
	return m.Parts[part]
}

// Trip returns the current duration of a call on the farthest part of the node. With
// bare, the extra time of a first call is left out.
func (m *Member) Trip(bare bool) time.Duration {
	trip := m.Sender.Trip(bare)
	for _, part := range m.Parts[min(1, len(m.Parts)):] {
		trip = max(trip, part.Trip(bare))
	}
	return trip
}

// Shortest returns the duration of the shortest recent call on the farthest part.
func (m *Member) Shortest() time.Duration {
	shortest := m.Sender.Shortest()
	for _, part := range m.Parts[min(1, len(m.Parts)):] {
		shortest = max(shortest, part.Shortest())
	}
	return shortest
}

// Away reports whether no part of the node answers.
func (m *Member) Away() bool {
	away := m.Sender.Load().Away
	for _, part := range m.Parts[min(1, len(m.Parts)):] {
		away = away && part.Sender.Load().Away
	}
	return away
}

// maxBacklog is how many operations may wait for a node before notifications that nobody
// here waits for are no longer passed on.
const maxBacklog = 64

// MayPass reports whether a notification for key may be passed on to the node. If not,
// the lock is free again when the reservation ends.
func (m *Member) MayPass(key string) bool {
	return m.Rumours.Pass(time.Now()) && m.Of(key).Sender.Load().Waiting() < maxBacklog
}

// complaintAgain is the minimum time between two reports of the same problem. A problem
// is reported again only if it was gone in between.
const complaintAgain = time.Minute

// A Complaint is a problem with a node that is reported once, and not for each key.
type Complaint struct {
	told  atomic.Int64 // when it was reported, in Unix nanoseconds; 0: never
	right atomic.Bool  // the problem was gone since then
}

// Due reports whether the problem should be reported now.
func (c *Complaint) Due(now time.Time) bool {
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

// Settled notes that the problem is gone.
func (c *Complaint) Settled() {
	if c.told.Load() != 0 && !c.right.Load() { // rarely true; the common case only reads
		c.right.Store(true)
	}
}
