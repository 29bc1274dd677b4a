package quorum

import (
	"iter"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// Callers that only want to read have a local queue of their own beside that of the others,
// with a ticket of its own. Its name is the key of the set of readers. A notification does not
// say for which of the two tickets it is, so both are told.

// newLine returns an empty local queue with that name.
func (g *Group) newLine(key string, in *inbox) *localQueue {
	_, shared := proto.ReadersOf(key)
	return &localQueue{group: g, key: key, shared: shared, inbox: in, places: make([]place, len(g.Members))}
}

// lock returns the key of the lock for which the callers of ln wait. A lock with slots has
// none.
func (ln *localQueue) lock() string {
	if lock, ok := proto.ReadersOf(ln.key); ok {
		return lock
	}
	return ln.key
}

// newAttempt returns an attempt of a caller of ln to get key, which is the lock or a slot.
func (ln *localQueue) newAttempt(key, token string) *attempt.Attempt {
	a := attempt.New(ln.group.Nodes, key, token)
	if ln.shared {
		a.Share()
	}
	return a
}

// lines yields the names of the local queues of a lock. Permits have one.
func (ls *localQueues) lines(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(name) || !ls.shares || proto.IsPermits(name) {
			return
		}
		if readers, ok := proto.ReadersKey(name); ok {
			yield(readers)
		}
	}
}

// line returns the name of the local queue for r.
func (r *Request) line() string {
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
	return g.Contended(r.line())
}

// ambiguous reports whether readers and others wait for the lock of ln here, or have waited
// and hold it, so that a notification may be for the other ones. The local queues must be
// locked.
func (ln *localQueue) ambiguous() bool {
	ls := &ln.group.locals
	if !ls.shares {
		return false
	}
	n := 0
	for line := range ls.lines(ln.lock()) {
		if ln := ls.byKey[line]; ln != nil && (ln.waits() || len(ln.holders) > 0) {
			n++
		}
	}
	return n > 1
}
