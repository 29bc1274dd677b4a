package redlock

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Locker makes locks on a quorum of nodes. It is made by [New]; its methods
// may be called concurrently. A program needs one for a set of nodes, whatever the
// number of keys.
//
// It owns no goroutine while no call is under way, no lock is held and nothing is
// cleaned up, but for its inbox: to be called it subscribes to one channel on every
// node as soon as somebody waits, which takes a goroutine and a connection (or a share
// of one, as the driver has it) for each server until 5 s after the last wait. Then no
// timer is left either: one that is never closed leaks nothing.
type Locker struct {
	*base
	settings settings
}

// A base is what a Locker shares with those derived from it.
type base struct {
	group    *quorum.Group
	clock    quorum.Clock
	closed   atomic.Bool
	watch    watch
	extender extender
	register register
	parking  parking
}

// New returns a Locker on nodes, which are independent servers: N masters that
// do not replicate each other, N odd. One is a quorum too. It does no I/O.
//
// It refuses an empty list, a nil node, the same node or the same name twice, a node
// that cannot do what an option needs, and options with bad values.
func New(nodes []backend.Node, opts ...Option) (*Locker, error) {
	s := settings{
		drift:       DefaultDrift,
		counterLife: DefaultCounterLife,
		logger:      slog.New(slog.DiscardHandler),
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
	l := &Locker{base: new(base), settings: s}
	group, err := quorum.NewGroup(nodes, quorum.Config{
		Need: s.need, Abandoned: l.abandoned, Inbox: l.inbox, Polls: l.polls, Foreign: foreign, Announce: s.announce,
		CounterLife: s.counterLife, Quarantine: s.quarantine, Marker: l.marker(), Clock: &l.clock, Drift: l.settings.driftOf,
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

// With returns a Locker with further defaults for its calls, further hooks and perhaps
// another logger. It is for code that is given a Locker and wants to observe its own locks,
// or to lock in its own way, without changing what others do with it. It does no I/O.
//
// Everything else is shared: the nodes, the queues and the connections. So the two exclude
// each other as two callers of one Locker do, a ctx that holds a key of one holds it for
// the other ([WithReentrancy]), and [Locker.Close] closes both.
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

// abandoned logs a node that refuses to delete keys of ours, with the first of them.
func (l *Locker) abandoned(node, key string, err error) {
	l.settings.logger.Error("redlock: a node refuses to unlock; keys stay there until it accepts that, or they expire",
		"node", text.Name(node), "key", text.Name(key), "error", words(err))
}

// polls logs a node on which waiters have to poll.
func (l *Locker) polls(node string, err error) {
	l.settings.logger.Warn("redlock: a node does not notify waiters, so they poll it",
		"node", node, "error", words(err))
}

// Lock waits until it holds the lock on key or ctx ends.
//
// While somebody else holds the lock it waits for as long as ctx lets it. It gives up
// when too many nodes have been unavailable for one TTL ([WithPatience]), to this call and to
// all others of this Locker that asked meanwhile, and at once if nodes refuse for good, for instance
// a wrong password ([WithRetry] changes this). Callers that wait when the nodes go away give
// up together, also those that stand behind others. It waits for the end of a quarantine
// ([WithQuarantine]). If ctx has a deadline, the last attempt is made shortly before
// it. ctx bounds the wait, not the hold; [WithWait] bounds the wait without a ctx of its own. A cancellation is noticed at once, or, with a
// single node, by the node timeout at the latest, if the driver does not notice it
// before.
//
// Who waits stands in a queue on the nodes and sleeps until it is called. The queue
// is first come, first served, between processes too, and so is the line of the
// callers of one Locker, of which the first competes for all. A lock that is released
// is reserved for the next one, for 20 ms or four round trips to the farthest node if
// that is longer, a second at most. Nobody overtakes but a call that finds the lock free
// and not reserved, as after an expiry. A holder that notifies nobody is noticed when its
// lease ends, or when the first in the queue looks for itself: about every two seconds, and every
// 250 ms while another library has the lock, as the form of its token shows.
//
// A caller polls instead, in no order and at random times that are at most 250 ms
// apart (more if thousands of callers of this Locker poll), unless so many nodes can call it that every release reaches one: 1 of 1, 2 of
// 3, 3 of 5. A node cannot if its adapter lacks backend.Scripter or backend.Subscriber,
// if the server forbids what a queue needs, or if its messages do not arrive. This is logged
// once for each node, in the server's words if it has any ([WithLogger]). No node can for
// a key with braces but no hash tag, such as "a}b".
//
// The error matches [ErrTaken] or [ErrUnavailable], and ctx's error if that
// ended the wait; it is a [*QuorumError]. Nothing is then left locked: keys
// that some nodes granted are deleted in the background, see [Locker.Close]. Bad
// arguments, and a ctx that has ended already, are plain errors before any I/O; so is
// [ErrClosed], which ends a wait too.
//
// A call with a ctx that holds key itself would wait for itself, and fails at once with an
// error that matches [ErrTaken], unless [WithReentrancy] is set, which has the details.
//
// Every method rejects a key that the library keeps beside another lock, before any I/O: see
// "Names on the servers" in the documentation of the package.
func (l *Locker) Lock(ctx context.Context, key string, opts ...LockOption) (*Lock, error) {
	c, err := l.prepareLock(ctx, key, opts, false)
	if err != nil {
		return nil, err
	}
	return c.lock(ctx)
}

// TryLock is Lock with one attempt. Defaults that bound the wait do not matter, and options of
// the call that do are rejected ([WithWait], [WithRetry], [WithPatience]). It returns within the node
// timeout, or when ctx ends, with an error that matches [ErrTaken] if somebody
// else holds the lock, and leaves behind as little. It does not queue. A lock that is
// reserved for one who waits counts as taken.
func (l *Locker) TryLock(ctx context.Context, key string, opts ...LockOption) (*Lock, error) {
	c, err := l.prepareLock(ctx, key, opts, true)
	if err != nil {
		return nil, err
	}
	return c.lock(ctx)
}

// Resume takes over a lock that was acquired elsewhere, by another process or before a
// restart. It extends the lock on a quorum, and so knows until when it is valid: for the TTL of
// the options ([WithTTL]), but it never makes the lock shorter. There must be one holder: nobody
// else may use the lock from then on, but to release it.
//
// It makes one attempt, and returns as [Lock.Extend] does: with an error that matches
// [ErrNotHeld] if the lock is not held with that token any more, and [ErrUnavailable] if too
// many nodes failed. The lock is then left as it was, or extended on some nodes.
//
// The servers do not know the fencing token. A lock that is handed over with one keeps it, as
// if it was acquired with [WithFencing]. A Locker with WithFencing rejects a handover without
// one. A key that does not begin with the Locker's prefix ([WithKeyPrefix]) is rejected too.
// Both are errors before any I/O.
func (l *Locker) Resume(ctx context.Context, h Handover, opts ...ResumeOption) (*Lock, error) {
	key, err := l.takes("resume", h)
	if err != nil {
		return nil, err
	}
	token := h.Token()
	s, err := l.defaults().resumed(h.fence, opts)
	c, err := l.prepare(ctx, "resume", key, s, err)
	if err != nil {
		return nil, err
	}
	ttl := l.settings.lease(c.settings)
	attempt := l.group.Adopt(c.fullKey, token, ttl)
	if c.fencing != nil {
		attempt = c.fencing.Adopt(token, h.fence, ttl)
	}
	res := attempt.Extend(ctx, ttl, l.settings.timeout(ttl))
	c.note(res)
	var lock *Lock
	until := c.start.Add(ttl - l.settings.driftOf(ttl))
	now := l.clock.Now()
	switch {
	case res.Verdict != quorum.Won:
		err = c.failed(ctx, res)
	case until.Past(now):
		err = c.late()
	default:
		lock = newLock(ctx, c, attempt, token, c.start, now, until)
	}
	if lock == nil && err == nil { // a Shutdown was quicker
		return nil, ErrClosed
	}
	c.tell(ctx, l.settings.hooks.Locked, err)
	if err != nil {
		return nil, err
	}
	lock.startExtending()
	return &lock.first, nil
}

// Release unlocks without a handle, for a lock that another process acquired. It answers as
// [Lock.Unlock] does, and sends even if ctx has ended. As [Locker.Resume] it rejects a key
// without the Locker's prefix; it does not need the fencing token.
//
// It knows nothing of what the other process still has under way: a node that gets its grant
// later keeps the key for its TTL.
func (l *Locker) Release(ctx context.Context, h Handover) error {
	key, err := l.takes("release", h)
	if err != nil {
		return err
	}
	c := l.newCall("release", key, l.settings.call)
	attempt := l.group.Adopt(c.fullKey, h.Token(), c.settings.ttl)
	err = c.release(ctx, attempt)
	c.tell(ctx, l.settings.hooks.Unlocked, err)
	return err
}

// Close waits until no cleanup is under way: until what calls that failed and
// locks that were unlocked had left on the nodes is deleted or has expired. If
// ctx ends before, it returns its error, and the cleanup goes on. From the call
// on, the Locker's other methods return [ErrClosed], those that wait too: at once if
// they stand in a queue, else when they would try again. Its inbox closes. Locks that
// are held stay held, extend themselves if they did, and their methods go on to work:
// [Locker.Shutdown] releases them. Locks that were unlocked before the end of their minimum
// hold are left to expire ([WithMinHold]).
// It does not close the clients of the nodes. It may be called again.
func (l *Locker) Close(ctx context.Context) error {
	if l == nil || l.base == nil {
		return errZero
	}
	l.closed.Store(true)
	l.parking.close()
	l.group.Close()
	return l.cleaned(ctx, "close")
}

// cleaned waits until nothing is being deleted.
func (l *Locker) cleaned(ctx context.Context, op string) error {
	if err := l.group.Wait(ctx); err != nil {
		return fmt.Errorf("redlock: %s: keys are still being deleted on nodes, %d in all, and expire by themselves: %w", op, l.group.Cleanups(), err)
	}
	return nil
}

// defaults returns the settings of calls without options. Those of a zero Locker, which
// every call refuses, are empty.
func (l *Locker) defaults() callSettings {
	if l == nil {
		return callSettings{}
	}
	return l.settings.call
}

// prepareLock is prepare for a call that locks, with a single attempt if it is to try only.
func (l *Locker) prepareLock(ctx context.Context, key string, opts []LockOption, try bool) (*call, error) {
	s := l.defaults()
	s.given = 0
	var err error
	if len(opts) > 0 { // with allocates
		s, err = s.with(opts)
	}
	if try && err == nil {
		s, err = s.once()
	}
	return l.prepare(ctx, "lock", key, s, err)
}

// prepare checks what can be checked before any I/O. The settings come with the error of
// the options that made them.
func (l *Locker) prepare(ctx context.Context, op, key string, s callSettings, optErr error) (*call, error) {
	if err := l.check(op, key); err != nil {
		return nil, err
	}
	if optErr == nil {
		optErr = l.settings.check(s)
	}
	if optErr == nil {
		optErr = s.checkGiven()
	}
	if optErr != nil {
		return nil, fmt.Errorf("redlock: %s %s: %w", op, text.Quote(l.settings.prefix+key), optErr)
	}
	c := l.newCall(op, key, s)
	if s.fencing {
		var err error
		if c.fencing, err = l.group.Fencing(c.fullKey); err != nil {
			return nil, fmt.Errorf("redlock: %s %s: %w", op, text.Quote(c.fullKey), err)
		}
	}
	if err := l.checkContext(ctx, op, key); err != nil {
		return nil, err
	}
	return c, nil
}

func (l *Locker) check(op, key string) error {
	switch {
	case l == nil || l.base == nil:
		return errZero
	case l.closed.Load():
		return ErrClosed
	case key == "":
		return fmt.Errorf("redlock: %s: an empty key", op)
	}
	return checkKey(op, l.settings.prefix+key)
}

// checkKey refuses a key that is kept beside another lock, or may be a marker. The key is
// that on the servers: what it may be does not depend on the prefix of this Locker.
func checkKey(op, fullKey string) error {
	if why := proto.Conflict(fullKey); why != "" {
		return fmt.Errorf("redlock: %s %s: the key is not free for a lock: %s: choose another key", op, text.Quote(fullKey), why)
	}
	return nil
}

// checkContext refuses a ctx that has ended.
func (l *Locker) checkContext(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redlock: %s %s: the context has ended already: %w", op, text.Quote(l.settings.prefix+key), endOf(ctx, err))
	}
	return nil
}
