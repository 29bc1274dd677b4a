package attempt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// An attempt has a mode. In shared mode its token reads beside those of other readers. Each
// operation then has a script of its own, which needs the queue of the lock and the set of
// its readers, so there is no fallback without them. Everything else is the same.
//
// An attempt begins in shared mode, or changes to it when a holder becomes a reader. It
// never changes back: two readers that want the lock for themselves would wait for each
// other.

// CanShare returns an error that says why key cannot be locked to read, or nil. It does no
// I/O.
func (ns *Nodes) CanShare(key string) error {
	for _, m := range ns.Members {
		if !m.Queueing.Scripts {
			return fmt.Errorf("no shared lock: %s does not run scripts (backend.Scripter): %w", m.Name, errors.ErrUnsupported)
		}
	}
	if !proto.HasReaders(key) {
		return errors.New("no shared lock: a key with braces but no hash tag has no set of readers, " +
			"since no name that begins with the key shares its slot")
	}
	return nil
}

// Share makes a an attempt to read. It must be called before everything else. The nodes and
// the key must allow it: see [Nodes.CanShare].
func (a *Attempt) Share() {
	a.reads = true
	a.share()
}

// A sharing is the keys and the acquire that an attempt in shared mode sends to all nodes. Each is
// set once, because a node may still read it during a call.
type sharing struct {
	keys    [3]string  // the lock, its queue, and the set of its readers
	acquire backend.Op // that neither waits nor checks anything, once it is needed
	room    struct {   // for acquire
		keys [3]string
		args [2]string
	}
}

// share makes the mode shared.
func (a *Attempt) share() {
	if a.shared != nil {
		return
	}
	a.name()
	a.shared = new(sharing)
	release := proto.Release{Lock: a.key, Queue: a.queue(), Token: a.token}
	release.Readers, _ = proto.ReadersKey(a.key)
	release.Op(a.shared.keys[:0], a.shared.room.args[:0])
}

// plainAcquire returns the acquire that neither waits nor checks anything. All nodes get the
// same one, because all acquires of an attempt ask for the same time to live.
func (sh *sharing) plainAcquire(a *proto.Acquire) backend.Op {
	if sh.acquire.Script == nil {
		a.Wait.Queue = sh.keys[1]
		sh.acquire = a.Op(sh.room.keys[:0], sh.room.args[:0])
	}
	return sh.acquire
}

// LocalName returns the name of the local queue in which a may wait. Readers of a lock have
// another one than callers that want it for themselves.
func (a *Attempt) LocalName() string {
	if a.reads {
		return a.shared.keys[2]
	}
	return a.Name()
}

// Shared reports whether the mode of a is shared.
func (a *Attempt) Shared() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shared != nil
}

// readers returns the key of the set of readers if the mode is shared, otherwise "".
func (a *Attempt) readers() string {
	if a.shared == nil {
		return ""
	}
	return a.shared.keys[2]
}

// Downgrade makes a reader of an attempt that has the lock for itself, and extends it as
// [Attempt.Extend] does. Once it was called, the mode of a is shared whatever the verdict,
// because some nodes may let others read. Later extensions also reach the nodes that this
// one has not reached. It does nothing to an attempt that is being released.
func (a *Attempt) Downgrade(ctx context.Context, ttl, timeout time.Duration) round.Result {
	a.mu.Lock()
	released := false
	for _, s := range a.states {
		released = released || s.released.Load()
	}
	if a.states != nil && !released {
		a.share()
	}
	leaves := a.lowered() && a.local != nil
	a.mu.Unlock()
	if leaves {
		a.nodes.dismiss(a)
	}
	return a.Extend(ctx, ttl, timeout)
}

// lowered reports whether a has become a reader.
func (a *Attempt) lowered() bool { return a.shared != nil && !a.reads }

// leave removes the ticket of an attempt that has become a reader from the node's queue, unless an
// acquire that was granted has done so. The ticket is that of a caller that wants the lock for
// itself, so it would keep readers out of the node until the release.
//
// The deletion is that of another attempt, which has no token. So it is repeated like any other,
// and neither delays extensions of this attempt nor releases it. If an acquire with the ticket
// may still arrive, the deletion is repeated until it cannot.
func (s *nodeState) leave(now time.Time) {
	a := s.attempt
	defer a.nodes.cleanup.Add(-1)
	if !s.queued() {
		return
	}
	b := New(a.nodes, a.key, "")
	b.Share()
	b.local = ticketOf{a.local, a}
	t := b.states[s.index]
	t.token, t.late = doubted, s.late
	t.mayLive(a.ttl, s.late != 0, now)
	b.mu.Lock()
	defer b.mu.Unlock()
	t.clean(request{kind: round.Releasing, timeout: a.timeout}, now)
}

// A ticketOf is the local queue of an attempt that has lent its ticket to another attempt.
type ticketOf struct {
	Queue
	owner *Attempt
}

func (q ticketOf) IsNewest(i int, _ *Attempt) bool { return q.Queue.IsNewest(i, q.owner) }

func (q ticketOf) Queued(i int, _ *Attempt) bool { return q.Queue.Queued(i, q.owner) }

func (q ticketOf) SetQueued(i int, _ *Attempt, queued bool) { q.Queue.SetQueued(i, q.owner, queued) }

// votes reports whether acquires of a are votes. A reader has no fencing token.
func (a *Attempt) votes() bool { return a.voting != nil && a.shared == nil }

// extendShared returns an extension in shared mode. It may be sent again.
func (s *nodeState) extendShared() backend.Op {
	a := s.attempt
	extend := proto.ExtendShared{Lock: a.key, Queue: a.queue(), Readers: a.readers(), Token: a.token, TTL: s.current.ttl}
	return extend.Op(nil, nil)
}

// isShared reports whether op is a script of the shared mode.
func isShared(op *backend.Op) bool {
	switch op.Script {
	case lua.AcquireShared, lua.ExtendShared, lua.ReleaseShared, lua.RollbackShared:
		return true
	}
	return false
}
