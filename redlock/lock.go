package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/lease"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Lock is a lock that is held, or was. A [Locker] makes it, and it is used once: after
// it was unlocked or lost it cannot be locked again. Its methods may be called
// concurrently. With [WithReentrancy] several Locks can be handles on one lock.
type Lock struct {
	*hold
	handle lease.Handle
}

// Key returns the key that was locked, without the Locker's prefix.
func (l *Lock) Key() string { return l.key() }

// Token returns the secret that proves ownership on the servers. Anyone who has it can
// extend and release the lock. To hand the lock to another process, use [Lock.Handover].
func (l *Lock) Token() string { return l.lease.Attempt().Token() }

// Fence returns the fencing token of a lock that was acquired with [WithFencing], which
// is always above 0. For any other lock, and once it is shared, it returns 0.
//
// The token stays the same while the lock is held, and is not secret. Pass it to the
// resource with every operation under the lock: see package fence.
func (l *Lock) Fence() uint64 { return l.lease.Attempt().Fence() }

// Until returns when the validity ends: the time by which the protected work must be
// done, or the lock extended. A quorum of the servers keeps the lock a little longer, by
// the drift allowance.
//
// Only a successful extension changes it, and only to a later time. There is one
// exception: if the machine was suspended or its clock was set, the clock that is ahead
// decides how much of the older lease is left.
func (l *Lock) Until() time.Time {
	return l.lease.Until().Time()
}

// Report returns what each node did in the last round that succeeded, an acquisition or
// an extension, as far as this was known when the round was decided.
func (l *Lock) Report() Report { return l.report() }

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
	if done, begun := l.handle.BeginUnlock(); begun {
		return l.unlockedElsewhere(ctx, done)
	}
	c := l.locker.newCall("unlock", l.key(), l.callSettings())
	c.shared = l.Shared()
	next, lost, left := l.leave(c.start)
	err := errInterrupted
	defer func() { // even if a hook panics, because nothing may stay locked, and others may wait for the result
		if next == toRelease {
			l.lease.Attempt().Abandon()
		}
		l.handle.EndUnlock(err)
	}()
	if lost != nil {
		lost()
	}
	if next == isOver {
		err = left
		return err
	}
	c.begin(ctx)
	if next == isParked {
		err = l.parked(c)
		return err
	}
	next = isOver
	err = c.release(ctx, l.lease.Attempt())
	l.slots.Released(l.fullKey())
	c.tellHeld(l.locker.settings.hooks.Unlocked, l.lease.HeldFor(), err)
	return err
}

// leaving is what an Unlock does with the lock after its handle has ended.
type leaving uint8

const (
	isOver    leaving = iota // there are other handles, or a Shutdown has released it
	isParked                 // it stays on the nodes for its minimum hold
	toRelease                // it is released
)

// leave ends the handle. It calls no hook, because a hook that panics must not keep the lock,
// or other keys, on the nodes. The caller must call lost, unless it is nil. err is the result of
// an Unlock that does nothing more.
func (l *Lock) leave(now clock.Instant) (next leaving, lost func(), err error) {
	last, lost, err := l.handle.Leave(now)
	switch {
	case err == ErrClosed: // it was released already
		return isOver, lost, nil
	case !last:
		return isOver, lost, err
	case l.lease.Park():
		return isParked, lost, nil
	}
	return toRelease, lost, nil
}

// errInterrupted is what a second Unlock returns if a hook has panicked in the first.
var errInterrupted = fmt.Errorf("redlock: unlock: %w: a hook panicked in another Unlock", ErrUnavailable)

// unlockedElsewhere waits for the Unlock of another caller, and returns its result.
func (l *Lock) unlockedElsewhere(ctx context.Context, done <-chan struct{}) error {
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	err, ended := l.handle.Unlocked()
	if !ended {
		return fmt.Errorf("redlock: unlock %s: %w: another Unlock is under way: %w",
			text.Quote(l.fullKey()), ErrUnavailable, ending.Of(ctx, ctx.Err()))
	}
	return err
}

// Err returns nil while the lock is held, as far as this process knows without asking the
// servers. After that it returns [ErrReleased], [ErrClosed] if [Locker.Shutdown] released
// the lock, or an error that matches [ErrNotHeld] and says how the lock was lost. It is
// the [context.Cause] of the lock's contexts.
func (l *Lock) Err() error { return l.handle.Err() }
