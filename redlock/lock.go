package redlock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Lock is a lock that is held, or was. It is made by a [Locker], and used
// once: it is not locked again after it was unlocked or lost. Its methods may
// be called concurrently. With [WithReentrancy] several may be handles on one lock.
type Lock struct {
	*lease
	call *call // that acquired it: the key and the settings

	// Of this handle, under the lease's mu:
	unlock   unlocking
	left     error // why it ended, if others were left; else what ends is the lease
	contexts map[*lockContext]struct{}
}

// A lease is a lock on the servers, which one or several handles share.
type lease struct {
	locker  *Locker
	attempt *quorum.Attempt
	entry   entry
	token   string
	since   time.Time
	ctx     context.Context // for hooks: what that of the acquiring call carries; nil without them
	held    time.Duration   // for how long; guarded by mu, and final once it has ended

	core  Lock // what timers and extensions use; it is never unlocked
	first Lock // the handle of the caller that acquired it

	mu          sync.Mutex
	handles     int  // that are not unlocked
	extends     bool // it extends itself, or is about to
	limited     bool // … for WithMaxHold at most
	interrupted bool // it gets no contexts any more
	until       quorum.Instant
	least       time.Time          // until when the nodes keep it at least
	votes       []quorum.Vote      // of the last round that was won
	failure     error              // of the last extension; nil if it succeeded
	cause       error              // why it ended; nil while it is held
	nested      map[*Lock]struct{} // the handles beside first that have contexts
	expiry      *time.Timer        // ends it at until; nil while nobody would notice
	extension   *extension         // nil unless it extends itself
}

// newLock returns the core of a lock that is held since now, and was asked for at begun; who acquired it gets the first
// handle. It returns nil after a Shutdown.
func newLock(ctx context.Context, c *call, attempt *quorum.Attempt, token string, begun, now, until quorum.Instant) *Lock {
	l := &lease{
		locker: c.locker, attempt: attempt, token: token, since: now.Time(),
		handles: 1, extends: c.settings.autoExtend, limited: c.settings.maxHold > 0,
		until: until, votes: c.last.Votes,
	}
	if hooks := &c.locker.settings.hooks; hooks.Extended != nil || hooks.Lost != nil {
		l.ctx = context.WithoutCancel(ctx)
	}
	if d := c.settings.minHold; d > 0 {
		l.least = begun.Time().Add(d)
	}
	l.core = Lock{lease: l, call: c}
	l.first = Lock{lease: l, call: c}
	if !l.locker.register.add(l) {
		return nil
	}
	attempt.Lasts(until)
	return &l.core
}

// Key returns the key that was locked, without the Locker's prefix.
func (l *Lock) Key() string { return l.call.key }

// Token returns the secret that proves ownership on the servers: whoever has it
// may extend and release the lock. To hand it to another process use [Lock.Handover].
func (l *Lock) Token() string { return l.token }

// Fence returns the fencing token of a lock that was acquired with [WithFencing], which
// is always above 0, and 0 of any other. It stays the same for as long as the lock is held,
// and goes to the resource with everything that is done under the lock: see package fence. It
// is not secret.
func (l *Lock) Fence() uint64 { return l.attempt.Fence() }

// Until returns when the validity ends: the time by which the protected work must
// be done, or the lock extended. A quorum of the servers keeps the lock for a
// little longer, the drift allowance. It moves only when an extension has
// succeeded, and never back, unless the machine was suspended or its clock set in
// between: then what the clock that is ahead leaves of the older lease counts (see
// [Lock.Err]).
func (l *Lock) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Time()
}

// Report says what each node did in the last round that succeeded, acquisition or
// extension, as far as was known when the round was decided.
func (l *Lock) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return newReport(l.locker.group, l.votes)
}

// Extend lets the lock live for at least ttl from now. It never makes it
// shorter: with a ttl that ends before what is left it only makes sure that the
// lock is held.
//
// It blocks until a quorum has answered, for the node timeout at most (or an eighth
// of ttl, if that is shorter), or until ctx ends. An error that matches
// [ErrNotHeld] says that the lock is lost, or was unlocked, and ends its contexts.
// One that matches [ErrUnavailable] says that too few nodes answered; the lock
// then stays valid until [Lock.Until], as before, and some nodes may have extended
// it. A lock past its validity stays lost, even where the servers still have it, and even
// if the answers arrive just after it.
//
// A node that has lost the lock, because it restarted without its data or did not answer for
// longer than the TTL, is asked to grant it again after each extension that succeeded
// without it. This happens in the background. So a lock that is extended survives restarts
// of all servers, if at any time a quorum has it, and if there is an extension between
// one restart and the next. [NodeReport] shows which nodes have granted it again.
func (l *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	_, err := l.extend(ctx, ttl)
	return err
}

// extend is Extend, and returns the result of its round too, if there was one.
func (l *Lock) extend(ctx context.Context, ttl time.Duration) (quorum.Result, error) {
	err := checkTTL(ttl)
	ttl = ttl.Truncate(time.Millisecond)
	if err == nil {
		err = l.locker.settings.checkTTL(ttl)
	}
	if err == nil && l.call.settings.fencing {
		err = l.locker.settings.checkCounterLife(ttl)
	}
	if err == nil {
		err = l.locker.settings.checkQuarantine(ttl)
	}
	if err != nil {
		return quorum.Result{}, fmt.Errorf("redlock: extend %s: %w", text.Quote(l.call.fullKey), err)
	}
	if err := l.locker.checkContext(ctx, "extend", l.call.key); err != nil {
		return quorum.Result{}, err
	}
	ttl = l.keep(ttl)
	n, err := l.renew(ttl)
	if err != nil {
		return quorum.Result{}, err
	}
	res := l.attempt.Extend(ctx, ttl, l.locker.settings.timeout(ttl))
	return res, n.end(ctx, res)
}

// A renewal is one extension of a lock under way.
type renewal struct {
	lock  *Lock
	call  *call
	until quorum.Instant // of the lock, if it succeeds
}

// renew begins an extension, unless the lock has ended.
func (l *Lock) renew(ttl time.Duration) (renewal, error) {
	if err := l.lostOrReleased("extend"); err != nil {
		return renewal{}, err
	}
	c := l.locker.newCall("extend", l.call.key, l.call.settings)
	c.settings.ttl = ttl
	return renewal{l, c, l.locker.clock.Now().Add(ttl - l.locker.settings.driftOf(ttl))}, nil
}

// end takes what came of the extension, and returns its error.
func (n renewal) end(ctx context.Context, res quorum.Result) error {
	l, c := n.lock, n.call
	c.note(res)
	var err error
	if res.Verdict == quorum.Won {
		err = l.extended(n.until, res)
	} else {
		err = l.unextended(c.failed(ctx, res))
	}
	if res.Verdict == quorum.Gone {
		l.end(err)
	}
	c.tell(ctx, l.locker.settings.hooks.Extended, err)
	return err
}

// extended takes the outcome of an extension that a quorum made, unless the
// lock has ended meanwhile. It has ended too if its validity was over before the answer
// came: another may have held it in between, and released it before nodes that had lost
// the token were given it again.
func (l *Lock) extended(until quorum.Instant, res quorum.Result) error {
	l.mu.Lock()
	now := l.locker.clock.Now()
	if l.until.Past(now) {
		l.mu.Unlock()
		return l.lostOrReleased("extend")
	}
	if until.Until(now) > l.until.Until(now) {
		l.until = until
	}
	l.votes, l.failure = res.Votes, nil
	for i, v := range res.Votes {
		if v.Rejoined {
			_, name := l.locker.group.Node(i)
			l.locker.settings.logger.Debug("redlock: a node that had lost the lock has it again",
				"key", text.Name(l.call.fullKey), "node", text.Name(name))
		}
	}
	if l.cause == nil {
		l.attempt.Lasts(l.until)
		if l.expiry != nil {
			l.expiry.Reset(l.until.Until(now))
		}
	}
	l.mu.Unlock()
	return l.lostOrReleased("extend")
}

// unextended takes the failure of an extension, and returns what it comes to: that
// the lock was unlocked, if it was meanwhile.
func (l *Lock) unextended(err error) error {
	l.mu.Lock()
	l.failure = err
	released := wasReleased(l.cause)
	l.mu.Unlock()
	if released {
		return l.lostOrReleased("extend")
	}
	return err
}

// lostOrReleased returns why op, an extension or a check, has no lock, or nil: an error that
// matches ErrNotHeld.
func (l *Lock) lostOrReleased(op string) error {
	err := l.Err()
	switch err {
	case ErrReleased:
		return fmt.Errorf("redlock: %s %s: %w: it was unlocked", op, text.Quote(l.call.fullKey), ErrNotHeld)
	case ErrClosed:
		return fmt.Errorf("redlock: %s %s: %w: Shutdown has released it", op, text.Quote(l.call.fullKey), ErrNotHeld)
	}
	return err
}

// Unlock releases the lock. Its contexts end first, with [ErrReleased]. While there
// are other handles on the lock ([WithReentrancy]) it only ends this one. Before the end of a
// minimum hold ([WithMinHold]) it asks no node, and leaves the lock there.
//
// It blocks until the servers' answers decide, for the node timeout at most, or
// until ctx ends. If hundreds of goroutines unlock at the same time, they take turns,
// and waiting for a turn comes on top of that. A ctx that has ended before, and a lock past its validity,
// change nothing: it is sent, and answered, all the same. What is not deleted by
// then goes on to be deleted in the background: see [Locker.Close].
//
// It returns nil if a quorum deleted the lock, or at least is known to be free of
// it. An error that matches [ErrNotHeld] says that it was not held any more: so
// few nodes still had it that others may have held it meanwhile. One that matches
// [ErrUnavailable] says that too few nodes answered to tell.
// A second Unlock waits for the first, or until its own ctx ends, and returns its
// answer.
func (l *Lock) Unlock(ctx context.Context) error {
	l.mu.Lock()
	u := &l.unlock
	if u.begun {
		if !u.ended && u.done == nil {
			u.done = make(chan struct{})
		}
		done := u.done
		l.mu.Unlock()
		return l.unlockedElsewhere(ctx, done)
	}
	u.begun = true
	l.mu.Unlock()

	c := l.locker.newCall("unlock", l.call.key, l.call.settings)
	err := errInterrupted
	defer func() { l.answer(err) }() // even if a hook panics: others may wait for it
	last, lost := l.leave(c.start)
	if !last || lost == ErrClosed {
		err = lost
		if lost == ErrClosed { // it was released already
			err = nil
		}
		return err
	}
	if l.park() {
		err = l.parked(ctx, c)
		return err
	}
	err = c.release(ctx, l.attempt)
	c.tellHeld(ctx, l.locker.settings.hooks.Unlocked, l.heldFor(), err)
	return err
}

// errInterrupted is what a second Unlock returns if a hook has panicked in the first.
var errInterrupted = fmt.Errorf("redlock: unlock: %w: a hook panicked in another Unlock", ErrUnavailable)

// heldFor returns for how long a lock was held that was unlocked, and 0 of one that was
// lost, of which the hook Lost was told.
func (l *lease) heldFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !wasReleased(l.cause) {
		return 0
	}
	return l.held
}

// answer ends the one time that the handle is unlocked.
func (l *Lock) answer(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := &l.unlock
	u.err, u.ended = err, true
	if u.done != nil {
		close(u.done)
	}
}

// unlocking is the one time that a lock is unlocked.
type unlocking struct {
	begun, ended bool
	err          error         // once it has ended
	done         chan struct{} // closed then; nil if nobody waits for it
}

// unlockedElsewhere waits for an Unlock that another caller has begun, and returns
// its answer.
func (l *Lock) unlockedElsewhere(ctx context.Context, done <-chan struct{}) error {
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.unlock.ended {
		return fmt.Errorf("redlock: unlock %s: %w: another Unlock is under way: %w",
			text.Quote(l.call.fullKey), ErrUnavailable, endOf(ctx, ctx.Err()))
	}
	return l.unlock.err
}

// Err returns nil while the lock is held, as far as this process knows without
// asking the servers: after that [ErrReleased], [ErrClosed] if [Locker.Shutdown] released it,
// or an error that matches [ErrNotHeld] and says how it was lost. It is what [context.Cause] says of
// the lock's contexts.
func (l *Lock) Err() error { return l.err(l.locker.clock.Now()) }

func (l *Lock) err(now quorum.Instant) error {
	l.mu.Lock()
	cause := l.left
	if cause == nil {
		cause = l.cause
	}
	past := cause == nil && l.until.Past(now)
	until, failure := l.until.Time(), l.failure
	l.mu.Unlock()
	if !past {
		return cause
	}
	why := ""
	if failure != nil {
		why = fmt.Sprintf("; the last extension failed: %v", failure)
	}
	return l.end(fmt.Errorf("redlock: lock %s: %w: its validity ended at %v%s",
		text.Quote(l.call.fullKey), ErrNotHeld, until.Format(time.RFC3339Nano), why))
}

// end ends the lock for this process, once: contexts, timers and extensions. It
// returns the cause of the first call.
func (l *Lock) end(cause error) error {
	if l.endFirst(cause) {
		return cause
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// endFirst is end, and reports whether it was the first.
func (l *lease) endFirst(cause error) bool {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return false
	}
	l.cause, l.held = cause, time.Since(l.since)
	contexts := l.endAllContexts()
	if l.expiry != nil {
		l.expiry.Stop()
		l.locker.watch.remove(&l.core)
	}
	if l.extension != nil {
		l.locker.extender.remove(l.extension)
	}
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(cause)
	}
	l.locker.register.remove(l)
	if !wasReleased(cause) {
		l.attempt.Lose()
		l.lost(cause)
	}
	return true
}

// lost tells those who watch the Locker that the lock ended by itself.
func (l *lease) lost(cause error) {
	s := &l.locker.settings
	held := l.held // it does not change any more
	s.logger.Error("redlock: lock lost", "key", text.Name(l.core.call.fullKey), "held", held, "error", cause)
	if hook := s.hooks.Lost; hook != nil {
		hook(l.ctx, Event{Key: l.core.call.fullKey, Held: held, Report: l.core.Report(), Err: cause})
	}
}
