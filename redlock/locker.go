package redlock

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/lease"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Locker makes locks on a quorum of nodes. [New] makes it, and its methods may be
// called concurrently. A program needs one Locker for a set of nodes, whatever the number
// of keys.
//
// While no call is under way, no lock is held and nothing is cleaned up, a Locker has no
// goroutine, and soon after no timer, so one that is never closed leaks nothing. There is
// one exception: while a caller waits, and for 5 s after the last wait, the Locker subscribes
// to one channel on every node. That takes a goroutine and a connection for each server,
// or a share of a connection with some drivers.
type Locker struct {
	*base
	settings settings
}

// base is what a Locker shares with the Lockers derived from it.
type base struct {
	group  *quorum.Group
	clock  clock.Clock
	keeper lease.Keeper
	calls  sync.Pool // of call, empty
}

// New returns a Locker on nodes. These are independent servers: N masters that do not
// replicate each other, with N odd. One node is a quorum too. New does no I/O.
//
// It rejects an empty list, a nil node, the same node or the same name twice, a node that
// cannot do what an option needs, and bad values of options.
func New(nodes []backend.Node, opts ...Option) (*Locker, error) {
	s := settings{
		counterLife: DefaultCounterLife,
		Rules:       lease.Rules{Drift: DefaultDrift, NodeTimeout: DefaultNodeTimeout, Logger: slog.New(slog.DiscardHandler)},
		call:        callSettings{ttl: DefaultTTL},
	}
	for _, o := range opts {
		if o == nil {
			return nil, fmt.Errorf("redlock: %w", errNilOption)
		}
		if err := o.applyLocker(&s); err != nil {
			return nil, fmt.Errorf("redlock: %w", err)
		}
	}
	if err := s.check(s.call); err != nil {
		return nil, fmt.Errorf("redlock: %w", err)
	}
	if ttl := s.lease(s.call); s.nodeTimeout > ttl/8 {
		return nil, fmt.Errorf("redlock: a node timeout of %v: must be at most an eighth of the TTL, %v", s.nodeTimeout, ttl)
	}
	if s.nodeTimeout > 0 {
		s.NodeTimeout = s.nodeTimeout
	}
	l := &Locker{base: new(base), settings: s}
	l.keeper.Clock, l.keeper.Released, l.keeper.Closed = &l.clock, ErrReleased, ErrClosed
	group, err := quorum.NewGroup(nodes, quorum.Config{
		Inbox: l.inbox, Foreign: proto.Foreign,
		Config: attempt.Config{
			Need: s.need, Abandoned: l.abandoned, Answered: l.answered(), Polls: l.polls, Announce: s.announce,
			CounterLife: s.counterLife, Quarantine: s.quarantine, Marker: l.marker(), Clock: &l.clock, Drift: l.settings.DriftOf,
		},
	})
	if err == nil && s.call.fencing {
		err = group.CanFence()
	}
	if err == nil && s.quarantine > 0 {
		err = group.CanQuarantine()
	}
	if err != nil {
		return nil, fmt.Errorf("redlock: %w", err)
	}
	l.group = group
	return l, nil
}

// With returns a Locker with other defaults for its calls, additional hooks and perhaps
// another logger. It is for code that is given a Locker, and wants to observe its own
// locks or lock in its own way without changing what others do. It does no I/O.
//
// The two share everything else: the nodes, the queues and the connections. So they
// exclude each other like two callers of one Locker, a ctx that holds a key of one holds
// it for the other ([WithReentrancy]), and [Locker.Close] closes both.
func (l *Locker) With(opts ...DerivedOption) (*Locker, error) {
	if l == nil || l.base == nil {
		return nil, errZero
	}
	s := l.settings
	s.call.given = 0
	for _, o := range opts {
		if o == nil {
			return nil, fmt.Errorf("redlock: with: %w", errNilOption)
		}
		if err := o.applyLocker(&s); err != nil {
			return nil, fmt.Errorf("redlock: with: %w", err)
		}
	}
	err := s.check(s.call)
	if err == nil && s.call.fencing {
		err = l.group.CanFence()
	}
	if err != nil {
		return nil, fmt.Errorf("redlock: with: %w", err)
	}
	return &Locker{base: l.base, settings: s}, nil
}

// abandoned logs that a node refuses to delete keys of this Locker, with the first of
// these keys.
func (l *Locker) abandoned(node, key string, err error) {
	l.settings.Logger.Error("redlock: a node refuses to unlock; keys stay there until it accepts that, or they expire",
		"node", text.Name(node), "key", text.Name(key), "error", words(err))
}

// answered returns what tells the hook Node of answers, or nil if that is not set.
func (l *Locker) answered() func(attempt.Answer) {
	hook := l.settings.hooks.Node
	if hook == nil {
		return nil
	}
	return func(a attempt.Answer) {
		op := "lock"
		switch a.Kind {
		case round.Extending:
			op = "extend"
		case round.Releasing:
			op = "unlock"
		}
		hook(NodeEvent{op, newNodeReport(l.group, a.Node, a.Vote)})
	}
}

// polls logs that waiters poll a node.
func (l *Locker) polls(node string, err error) {
	l.settings.Logger.Warn("redlock: a node does not notify waiters, so they poll it",
		"node", node, "error", words(err))
}

// Lock waits until it holds the lock on key. While the lock is taken, the caller waits in
// a queue, first come, first served, also between processes, and is notified when its
// turn comes. If too few nodes can notify it, it polls. See docs/waiting.md.
//
// ctx limits the wait, not the hold. [WithWait] limits it too, and so does [WithPatience]
// while too many nodes are unavailable: by default for one TTL. If nodes refuse for good,
// for example because of a wrong password, Lock fails at once. If ctx itself holds key,
// it also fails at once, with an error that matches [ErrTaken], unless [WithReentrancy]
// is set.
//
// The error is a [*QuorumError] that matches [ErrTaken] or [ErrUnavailable], and ctx's
// error if that ended the wait. Nothing stays locked then: keys that some nodes have
// granted are deleted in the background (see [Locker.Close]). Bad arguments, a ctx that
// has already ended, and a key that the library keeps beside another lock are plain
// errors before any I/O. [ErrClosed] is a plain error too, and also ends a wait.
func (l *Locker) Lock(ctx context.Context, key string, opts ...LockOption) (*Lock, error) {
	return l.lock(ctx, key, opts, false)
}

// TryLock makes one attempt to lock, and does not queue. It returns within the node
// timeout, or when ctx ends. With [WithFencing] it may need a second round, which may take
// up to another node timeout. The error matches [ErrTaken] if somebody else holds the lock
// or the lock is reserved for a waiter. As with Lock, nothing stays locked after an
// error.
//
// Defaults that limit the wait have no effect. TryLock rejects [WithRetry],
// [WithPatience] and a [WithWait] other than 0 as options of the call.
func (l *Locker) TryLock(ctx context.Context, key string, opts ...LockOption) (*Lock, error) {
	return l.lock(ctx, key, opts, true)
}

func (l *Locker) lock(ctx context.Context, key string, opts []LockOption, try bool) (*Lock, error) {
	c, err := l.prepareLock(ctx, key, opts, try)
	if err != nil {
		return nil, err
	}
	return c.done(c.lock(ctx))
}

// Resume takes over a lock that another process acquired, or this one before a restart.
// It extends the lock on a quorum to the TTL of the options ([WithTTL]), and never makes
// it shorter. A lock has one holder, so from then on nobody else may use it, except to
// release it. A lock that was handed over with a fencing token keeps it, as if it had
// been acquired with [WithFencing].
//
// It makes one attempt. The error matches [ErrNotHeld] if the lock is no longer held with
// that token, and [ErrUnavailable] if too many nodes failed. The lock is then left as it
// was, or extended on some nodes. Before any I/O, Resume rejects a key without the
// Locker's prefix ([WithKeyPrefix]), and, if the Locker has WithFencing, a handover
// without a fencing token. If the other process gave the lock a longer TTL, set it here
// too: see [Locker.Release] for the reason.
func (l *Locker) Resume(ctx context.Context, h Handover, opts ...ResumeOption) (*Lock, error) {
	key, err := l.takes("resume", h)
	if err != nil {
		return nil, err
	}
	defaults := l.defaults()
	defaults.fencing = defaults.fencing && !h.shared
	s, err := defaults.resumed(h.fence, opts)
	c, err := l.prepare(ctx, "resume", key, s, err)
	if err != nil {
		return nil, err
	}
	if h.shared {
		c.shared = true
		if err := l.canShare("resume", c.fullKey); err != nil {
			return c.done(nil, err)
		}
	}
	c.begin(ctx)
	held, res := l.group.Resume(ctx, c.request(), h.Token(), h.fence)
	var lock *hold
	told := false
	defer func() { // if a hook panics, nobody gets the lock
		if !told && res.Verdict == round.Won {
			if lock != nil {
				lock.lease.End(ErrReleased)
			}
			held.Abandon()
		}
	}()
	c.note(ctx, res)
	if res.Verdict == round.Won {
		lock = newHold(ctx, c, held)
	} else {
		err = c.failed(ctx, res)
	}
	if lock == nil && err == nil { // a Shutdown came first
		err = ErrClosed
	}
	c.tell(l.settings.hooks.Locked, err)
	told = true
	if err != nil {
		return c.done(nil, err)
	}
	lock.startExtending(c.settings)
	return c.done(&lock.first, nil)
}

// Release unlocks a lock that another process acquired. It blocks and answers like
// [Lock.Unlock], and is sent even if ctx has ended. Like [Locker.Resume] it rejects a key
// without the Locker's prefix. It does not need the fencing token.
//
// It knows nothing of operations of the other process that are still under way: a node
// that receives a grant later keeps the key for its TTL. It does not know that TTL either:
// a deletion that a node does not answer is repeated in the background for the TTL of this
// Locker. If the lock may live longer, give the Locker that TTL ([WithTTL], [Locker.With]).
func (l *Locker) Release(ctx context.Context, h Handover) error {
	key, err := l.takes("release", h)
	if err != nil {
		return err
	}
	c := l.newCall("release", key, l.settings.call)
	if h.shared {
		if err := l.canShare("release", c.fullKey); err != nil {
			return err
		}
		c.shared = true
	}
	a := l.group.Adopt(c.fullKey, h.Token(), c.settings.ttl)
	if h.shared {
		a.Share()
	}
	begun := false
	defer func() { // if the hook panics
		if !begun {
			a.Abandon()
		}
	}()
	c.begin(ctx)
	begun = true
	err = c.release(ctx, a)
	c.tell(l.settings.hooks.Unlocked, err)
	return err
}

// Close closes the Locker and waits until no cleanup is under way: until everything that
// failed calls and unlocked locks have left on the nodes is deleted or has expired. If
// ctx ends first, Close returns its error, and the cleanup goes on. It may be called
// again. It does not close the clients of the nodes.
//
// Close does not wait for calls that are under way. Such a call may leave keys on the
// nodes, and their deletion may still be under way when Close returns. So wait for these
// calls before you call Close, or call Close again when they have returned.
//
// After Close, the other methods return [ErrClosed], and so do calls that wait. Held
// locks stay held: their methods work, and they extend themselves if they did before.
// [Locker.Shutdown] releases them. Locks that were unlocked before the end of their
// minimum hold ([WithMinHold]) are left to expire.
func (l *Locker) Close(ctx context.Context) error {
	if l == nil || l.base == nil {
		return errZero
	}
	l.group.Close()
	l.keeper.Close()
	return l.cleaned(ctx, "close")
}

// cleaned waits until nothing is being deleted.
func (l *Locker) cleaned(ctx context.Context, op string) error {
	if err := l.group.Wait(ctx); err != nil {
		return fmt.Errorf("redlock: %s: keys are still being deleted on nodes, %d in all, and expire by themselves: %w", op, l.group.Cleanups(), err)
	}
	return nil
}

// Cleanups returns how many deletions of keys are under way on nodes: after failed calls
// and unlocked locks, one for each key and node. It does not block. [Locker.Close] waits
// until there are none. The number counts those of all Lockers that share the nodes
// ([Locker.With]). It is for monitoring: a number that keeps growing means that a node does
// not answer, or refuses to delete.
func (l *Locker) Cleanups() int {
	if l == nil || l.base == nil {
		return 0
	}
	return l.group.Cleanups()
}
