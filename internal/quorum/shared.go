package quorum

import (
	"iter"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// Callers that only want to read have a local queue of their own beside that of the others,
// with a ticket of its own. Its name is the key of the set of readers. A notification does not
// say for which of the two tickets it is, so both are told.

// newLocalQueue returns an empty local queue with that name.
func (g *Group) newLocalQueue(key string, in *inbox) *localQueue {
	_, shared := proto.ReadersOf(key)
	return &localQueue{group: g, key: key, shared: shared, inbox: in, places: make([]place, len(g.Members))}
}

// lock returns the key of the lock for which the callers of q wait. A lock with slots has
// none.
func (q *localQueue) lock() string {
	if lock, ok := proto.ReadersOf(q.key); ok {
		return lock
	}
	return q.key
}

// newAttempt returns an attempt of a caller of q to get key, which is the lock or a slot.
func (q *localQueue) newAttempt(key, token string) *attempt.Attempt {
	a := attempt.New(q.group.Nodes, key, token)
	if q.shared {
		a.Share()
	}
	return a
}

// localNames yields the names of the local queues of a lock. Permits have one.
func (ls *localQueues) localNames(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(name) || !ls.shares || proto.IsPermits(name) {
			return
		}
		if readers, ok := proto.ReadersKey(name); ok {
			yield(readers)
		}
	}
}

// localName returns the name of the local queue for r.
func (r *Request) localName() string {
	if r.Shared {
		readers, _ := proto.ReadersKey(r.Key)
		return readers
	}
	return r.Key
}

// behind reports whether callers of this process are in the way of r: see [Group.Contended]. Most
// groups never have a local queue of readers, and then its name need not be made.
func (g *Group) behind(r *Request) bool {
	if r.Shared {
		g.locals.mu.Lock()
		shares := g.locals.shares
		g.locals.mu.Unlock()
		if !shares {
			return false
		}
	}
	return g.Contended(r.localName())
}

// ambiguous reports whether readers and others wait for the lock of q here, or have waited
// and hold it, so that a notification may be for the other ones. The local queues must be
// locked.
func (q *localQueue) ambiguous() bool {
	ls := &q.group.locals
	if !ls.shares {
		return false
	}
	n := 0
	for local := range ls.localNames(q.lock()) {
		if q := ls.byKey[local]; q != nil && (q.waits() || len(q.holders) > 0) {
			n++
		}
	}
	return n > 1
}
