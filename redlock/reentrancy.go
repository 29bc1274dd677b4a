package redlock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// WithReentrancy lets code that runs under a lock lock it again: [Locker.Lock],
// [Locker.TryLock] and [Locker.Do] with a ctx that holds the key do not wait for
// their own caller, but return a nested handle on the lock that ctx holds. A ctx
// holds a key if it is, or derives from, one that [Lock.Context] or Do made, for a
// lock of the same Locker, or one derived from it ([Locker.With]), on the same key; so it can hold several. Given to a
// call, it lets that one nest; the lock that is entered need not have been made with it.
//
// Default: a Lock or Do with a ctx that holds the key would wait for its own caller. It
// fails at once, before any I/O, with an error that matches [ErrTaken] and says so, if ctx
// ends with the lock, as one does that derives from the lock's by way of package context. If
// that is not certain, as after [context.WithoutCancel], it waits, and this is logged. TryLock,
// TryDo and a policy of one try ask the nodes, which say that the lock is taken.
//
// It is ctx that holds, not the goroutine: all who use the ctx, or one that
// derives from it, are one holder, and do not exclude each other. Goroutines that
// are to do so get contexts that do not hold the key.
//
// A nested handle has the lock's token, fencing token, Until and report, and Extend
// extends the lock for all handles. Its contexts end when the lock does, or when it is unlocked
// itself. The lock is released when all of its handles have been unlocked, in whatever
// order: who unlocks first does not take it from under those who still work, as a
// goroutine does that outlives the Do in which it began. Each Unlock but the last
// only counts down: it asks no node, and returns nil, or how the lock was lost. A
// nested handle that is never unlocked keeps the lock until it expires, for ever if
// that extends itself ([WithMaxHold]).
//
// The lock must be valid on entry, and the handle whose context ctx is must not be
// unlocked. Otherwise the error matches [ErrNotHeld], and no node is asked: what
// runs under a lock that has ended never gets another one unawares, not even with what
// [context.WithoutCancel] made of its ctx. (If ctx itself has ended by then, the error
// is that of any such ctx, joined with the cause.)
//
// A nested handle is valid for as long as one that is not: if less is left than the
// TTL of the nested call, this extends the lock, as [Lock.Extend] does, and fails
// as that does; the lock then is left as that leaves it. While too many nodes are unavailable
// Lock and Do try again, as they do without a lock ([WithRetry] changes it the same way), for as
// long as the lock is valid. A lock that extends itself without a limit
// needs no such help: entering it asks no node. If the nested call asks for automatic
// extension (Do does), and the lock does not extend itself yet, it does so from then
// on until it is released, with the TTL and the WithMaxHold of that call. A call that
// asks for a fencing token is refused, before any I/O, if the lock has none. The
// call's other options do not matter, but for [WithMinHold].
//
// The hooks Locked and Unlocked are told of the lock, so once each, and not of what is
// nested. A [Mutex] nests in a lock that ctx holds, but has no context that another call could
// hold: the second Lock of one waits for its Unlock.
func WithReentrancy() AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.reentrant = true
		return nil
	})
}

// holds is the key under which a context of a lock has itself.
type holds struct {
	base *base
	key  string // as it is on the servers
}

// heldContext returns the context of a lock on the key that ctx is, or derives from, or nil.
func (c *call) heldContext(ctx context.Context) *lockContext {
	if ctx.Value(locked{}) == nil {
		return nil
	}
	held, _ := ctx.Value(holds{c.locker.base, c.fullKey}).(*lockContext)
	return held
}

// held returns the handle on the lock whose context ctx is, or nil.
func (c *call) held(ctx context.Context) *Lock {
	if held := c.heldContext(ctx); held != nil {
		return held.lock
	}
	return nil
}

// lock returns a handle on the lock that ctx holds, if it may nest, and else one on
// a lock that it waits for.
func (c *call) lock(ctx context.Context) (*Lock, error) {
	if c.settings.wait == once {
		c.settings.retry = RetryPolicy{tries: 1}
	}
	if c.settings.reentrant {
		if outer := c.held(ctx); outer != nil {
			return c.nest(ctx, outer)
		}
	}
	if c.settings.retry.tries != 1 {
		if err := c.itself(ctx); err != nil {
			return nil, err
		}
	}
	lock, err := c.wait(ctx)
	if err != nil {
		return nil, c.hint(ctx, err)
	}
	return &lock.first, nil
}

// itself returns an error if the call would wait for the lock that ctx holds, whose end is
// the end of ctx too.
func (c *call) itself(ctx context.Context) error {
	held := c.heldContext(ctx)
	if held == nil || held.lock.Err() != nil {
		return nil
	}
	if !endsWith(ctx, held) { // somebody may have detached it in order to wait
		c.locker.settings.logger.Warn("redlock: a call waits for a lock that its own ctx holds, perhaps for itself (see WithReentrancy)",
			"key", text.Name(c.fullKey))
		return nil
	}
	e := c.quorumError(ErrTaken)
	e.detail = holdsItself + ": the call would wait for itself"
	return e
}

// holdsItself is what an error says if it is ctx that has the lock.
const holdsItself = "ctx itself holds it (see WithReentrancy)"

// hint returns err with a word about who has the lock, if that is ctx itself. Hooks
// were told err, so that is not changed.
func (c *call) hint(ctx context.Context, err error) error {
	var e *QuorumError
	if !errors.As(err, &e) || e.class != ErrTaken || e.detail != "" {
		return err
	}
	if l := c.held(ctx); l == nil || l.Err() != nil {
		return err
	}
	told := *e
	told.detail = holdsItself
	return &told
}

// nest returns another handle on the lock that outer is one on.
func (c *call) nest(ctx context.Context, outer *Lock) (*Lock, error) {
	if c.settings.fencing && outer.Fence() == 0 {
		return nil, fmt.Errorf("redlock: %s %s: no fencing token: the lock that ctx holds has none", c.op, text.Quote(c.fullKey))
	}
	lock, err := outer.enter()
	if err != nil {
		e := c.quorumError(ErrNotHeld)
		e.detail = fmt.Sprintf("the lock that ctx held has ended: %v", err)
		return nil, e
	}
	begun := time.Now()
	if !lock.lasts(c.settings) {
		if err := c.lengthen(ctx, lock); err != nil {
			_ = lock.Unlock(ctx) // the others may have unlocked meanwhile
			return nil, err
		}
	}
	if d := c.settings.minHold; d > 0 {
		lock.mu.Lock()
		if least := begun.Add(d); least.After(lock.least) {
			lock.least = least
		}
		lock.mu.Unlock()
	}
	lock.keepExtending(c.settings)
	return lock, nil
}

// lengthen extends lock to the TTL of the nested call. It is as patient with nodes that are
// unavailable as a call that is not nested, but no longer than the lock is valid, which is
// less than one TTL.
func (c *call) lengthen(ctx context.Context, lock *Lock) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	retry, _ := c.pace()
	for {
		res, err := lock.extend(ctx, c.locker.settings.lease(c.settings))
		c.tries++
		if !errors.Is(err, ErrUnavailable) || res.CtxErr != nil || res.Permanent(c.locker.group.Need()) {
			return err
		}
		pause, again := retry.pause(c.tries)
		if !again {
			return err
		}
		if ctxErr := sleep(ctx, pause, 2*res.Elapsed); ctxErr != nil {
			return fmt.Errorf("%w: %w", err, endOf(ctx, ctxErr))
		}
	}
}

// enter returns another handle, unless this one or the lock has ended.
func (l *Lock) enter() (*Lock, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.unlock.begun:
		return nil, ErrReleased
	case l.cause != nil:
		return nil, l.cause
	}
	l.handles++
	return &Lock{lease: l.lease, call: l.call}, nil
}

// leave ends this handle, now, and the lock with the last one. If it was not the last
// it returns how the lock was lost, if it was. The error is ErrClosed if a Shutdown has
// released the lock.
func (l *Lock) leave(now quorum.Instant) (last bool, err error) {
	_ = l.err(now) // a lock past its validity was lost before
	l.mu.Lock()
	l.handles--
	if l.handles == 0 { // for good: it takes a handle to make another
		l.mu.Unlock()
		if l.end(ErrReleased) == ErrClosed {
			return true, ErrClosed
		}
		return true, nil
	}
	err, l.left = l.cause, l.cause
	if err == nil {
		l.left = ErrReleased
	}
	contexts := l.endContexts()
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(ErrReleased)
	}
	return false, err
}

// lasts reports whether the lock is valid for as long as one with these settings would be, or
// sees to that itself. It does not if its process dies, which matters to a minimum hold.
func (l *Lock) lasts(s callSettings) bool {
	ttl := l.locker.settings.lease(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.until.Until(l.locker.clock.Now())
	return left >= ttl-l.locker.settings.driftOf(ttl) || s.minHold == 0 && l.extends && !l.limited
}

// keepExtending begins what [WithAutoExtend] asks for in s, unless the lock extends
// itself already.
func (l *Lock) keepExtending(s callSettings) {
	if !s.autoExtend {
		return
	}
	l.mu.Lock()
	begun := l.extends
	if !begun {
		l.extends, l.limited = true, s.maxHold > 0
	}
	l.mu.Unlock()
	if begun {
		return
	}
	settings := l.call.settings
	settings.ttl, settings.autoExtend, settings.maxHold = s.ttl, true, s.maxHold
	core := &Lock{lease: l.lease, call: l.locker.newCall(l.call.op, l.call.key, settings)}
	core.startExtending()
}
