package quorum

import (
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/limit"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// Config configures a [Group].
type Config struct {
	attempt.Config

	// Inbox, if set, returns a new name for the channel on which nodes notify the group
	// of free locks. If it is not set, waiters poll.
	Inbox func() string

	// Foreign, if set, reports whether a lock's value is from another library, whose
	// holders notify nobody. owner is the last 32 bytes of the value.
	Foreign func(owner string) bool
}

// A Group is a set of independent nodes and the number of them that decides, and the
// callers of this process that wait for locks there. Its methods may be called
// concurrently.
type Group struct {
	*attempt.Nodes

	inbox   func() string
	foreign func(owner string) bool
	locals  localQueues
	budget  *limit.Budget
	closed  atomic.Bool
}

// NewGroup checks nodes and makes a group of them, as [attempt.NewNodes] does.
func NewGroup(nodes []backend.Node, cfg Config) (*Group, error) {
	g := &Group{inbox: cfg.Inbox, foreign: cfg.Foreign, budget: limit.NewBudget()}
	var err error
	if g.Nodes, err = attempt.NewNodes(nodes, cfg.Config, &g.locals); err != nil {
		return nil, err
	}
	return g, nil
}

// Close ends the wait of every call of [Group.Lock], and of every later call. It does not
// cut off an attempt or a pause.
//
// It closes the inbox for good, and then wakes every waiter that competes. The order
// matters: a waiter that tries again before the inbox is closed would rely on being
// notified, and sleep.
func (g *Group) Close() {
	g.closed.Store(true)
	g.locals.closeInbox(true)
	g.locals.wakeAll(true)
}

// Closed reports whether the group was closed.
func (g *Group) Closed() bool { return g.closed.Load() }

// Contended reports whether callers of this process wait for key, or hold it after having
// waited. If it has slots, callers that hold one are not in the way. Nor are readers in the
// way of other readers.
func (g *Group) Contended(key string) bool {
	ls := &g.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	q := ls.byKey[key]
	return q != nil && (len(q.waiters) > 0 || !q.shared && !proto.IsPermits(key))
}
