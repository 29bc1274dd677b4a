package redlock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Lock is a lock that is held, or was. A [Locker] makes it, and it is used once: after
// it was unlocked or lost it cannot be locked again. Its methods may be called
// concurrently. With [WithReentrancy] several Locks can be handles on one lock.
type Lock struct {
	*lease
	call *call // that acquired it: the key and the settings

	// Of this handle, guarded by the lease's mu:
	unlock   unlocking
	left     error // why this handle ended, if other handles remained
	contexts map[*lockContext]struct{}
}

// A lease is a lock on the servers. One or several handles share it.
type lease struct {
	locker  *Locker
	attempt *quorum.Attempt
	entry   entry
	token   string
	since   time.Time
	ctx     context.Context // for hooks, with the values of the acquiring call's ctx; nil without hooks
	held    time.Duration   // how long it was held; guarded by mu, final once it has ended

	core  Lock // for timers and extensions; it is never unlocked
	first Lock // the handle of the caller that acquired it

	mu          sync.Mutex
	handles     int  // that are not unlocked
	extends     bool // it extends itself, or is about to
	limited     bool // the extensions end with WithMaxHold
	interrupted bool // new contexts have ended already
	until       quorum.Instant
	least       time.Time          // end of the minimum hold
	votes       []quorum.Vote      // of the last round that was won
	failure     error              // of the last extension; nil if it succeeded
	cause       error              // why it ended; nil while it is held
	nested      map[*Lock]struct{} // the handles other than first that have contexts
	expiry      *time.Timer        // ends it at until; nil while nobody would notice
	extension   *extension         // nil unless it extends itself
}

// newLock returns the core of a lock that is held since now and was requested at begun.
// The caller that acquired it gets the first handle. newLock returns nil after a
// Shutdown.
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

// Token returns the secret that proves ownership on the servers. Anyone who has it can
// extend and release the lock. To hand the lock to another process, use [Lock.Handover].
func (l *Lock) Token() string { return l.token }

// Fence returns the fencing token of a lock that was acquired with [WithFencing], which
// is always above 0. For any other lock it returns 0.
//
// The token stays the same while the lock is held, and is not secret. Pass it to the
// resource with every operation under the lock: see package fence.
func (l *Lock) Fence() uint64 { return l.attempt.Fence() }

// Until returns when the validity ends: the time by which the protected work must be
// done, or the lock extended. A quorum of the servers keeps the lock a little longer, by
// the drift allowance.
//
// Only a successful extension changes it, and only to a later time. There is one
// exception: if the machine was suspended or its clock was set, the clock that is ahead
// decides how much of the older lease is left.
func (l *Lock) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Time()
}

// Report returns what each node did in the last round that succeeded, an acquisition or
// an extension, as far as this was known when the round was decided.
func (l *Lock) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return newReport(l.locker.group, l.votes)
}

// lostOrReleased returns nil if the lock is held. Otherwise it returns an error that
// matches ErrNotHeld and says why op, an extension or a check, has no lock.
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

// Unlock ends the lock's contexts with [ErrReleased], then releases the lock. While there
// are other handles on the lock ([WithReentrancy]) it only ends this one. Before the end
// of a minimum hold ([WithMinHold]) it asks no node, and leaves the lock there.
//
// It blocks until a quorum has decided, for the node timeout at most, or until ctx ends.
// (Hundreds of goroutines that unlock at the same time take turns, and waiting for a turn
// adds to that.) It is sent and answered even if ctx has already ended or the lock is
// past its validity. Whatever is not deleted by then is deleted in the background: see
// [Locker.Close].
//
// It returns nil if a quorum deleted the lock, or at least is known to be free of it. An
// error that matches [ErrNotHeld] means that the lock was lost: so few nodes still had it
// that others may have held it meanwhile. An error that matches [ErrUnavailable] means
// that too few nodes answered to tell. A second Unlock waits for the first, or until its
// own ctx ends, and returns the same result.
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
	defer func() { l.answer(err) }() // even if a hook panics, because others may wait for it
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

// heldFor returns how long a lock was held that was unlocked. It returns 0 for a lost
// lock, because the hook Lost has already reported that time.
func (l *lease) heldFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !wasReleased(l.cause) {
		return 0
	}
	return l.held
}

// answer records the result of the first Unlock of this handle.
func (l *Lock) answer(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := &l.unlock
	u.err, u.ended = err, true
	if u.done != nil {
		close(u.done)
	}
}

// unlocking is the state of the first Unlock of a handle.
type unlocking struct {
	begun, ended bool
	err          error         // set once it has ended
	done         chan struct{} // closed when it ends; nil if nobody waits for that
}

// unlockedElsewhere waits for the Unlock of another caller, and returns its result.
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

// Err returns nil while the lock is held, as far as this process knows without asking the
// servers. After that it returns [ErrReleased], [ErrClosed] if [Locker.Shutdown] released
// the lock, or an error that matches [ErrNotHeld] and says how the lock was lost. It is
// the [context.Cause] of the lock's contexts.
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

// end ends the lock for this process: contexts, timers and extensions. Only the first
// call has an effect. end returns the cause of that call.
func (l *Lock) end(cause error) error {
	if l.endFirst(cause) {
		return cause
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// endFirst is end, and reports whether it was the first call.
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

// lost logs that the lock was lost, and calls the hook.
func (l *lease) lost(cause error) {
	s := &l.locker.settings
	held := l.held // final by now
	s.logger.Error("redlock: lock lost", "key", text.Name(l.core.call.fullKey), "held", held, "error", cause)
	if hook := s.hooks.Lost; hook != nil {
		hook(l.ctx, Event{Key: l.core.call.fullKey, Held: held, Report: l.core.Report(), Err: cause})
	}
}
