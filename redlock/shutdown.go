package redlock

import (
	"context"
	"fmt"
)

// Shutdown closes the Locker as [Locker.Close] does, and releases every lock that is held by
// way of it, or of a Locker that shares its nodes ([Locker.With]), so that nobody has to
// wait for a TTL when a program ends. It is the last thing that a program does with its
// locks:
//
//   - Calls that wait return [ErrClosed].
//   - The contexts of all locks end, with the cause [ErrClosed].
//   - A lock under which [Locker.Do] or [Locker.TryDo] runs a function is released, and
//     extended until then, by that call when the function returns. Shutdown waits for it.
//   - Any other lock is released at once, because nothing tells when its work ends: stop that
//     work before. Extend then returns an error that matches [ErrNotHeld], and Unlock nil.
//
// A lock whose minimum hold is not over ([WithMinHold]) ends, and is left to expire.
//
// Shutdown returns nil when everything else has been deleted on the nodes or has expired. If ctx ends
// before, it returns an error that matches ctx's: functions go on to hold their locks, and
// deletions go on in the background. It may be called again. A function that Do runs must
// not call it: it would wait for itself. It does not close the clients of the nodes.
func (l *Locker) Shutdown(ctx context.Context) error {
	if l == nil || l.base == nil {
		return errZero
	}
	l.closed.Store(true)
	l.parking.close()
	free, busy := l.register.shutDown()
	l.group.Close()
	for _, lease := range busy {
		lease.interrupt()
	}
	for _, lease := range free {
		lease.giveUp(ctx)
	}
	select {
	case <-l.register.done():
	case <-ctx.Done():
		return fmt.Errorf("redlock: shutdown: functions still run under their locks, %d in all, and keep these until they return: %w",
			l.register.busy(), endOf(ctx, ctx.Err()))
	}
	free, _ = l.register.shutDown() // other handles on the locks of the functions
	for _, lease := range free {
		lease.giveUp(ctx)
	}
	return l.cleaned(ctx, "shutdown")
}

// interrupt ends the contexts of a lock, and those that are asked for from now on, but not
// the lock.
func (l *lease) interrupt() {
	l.mu.Lock()
	l.interrupted = true
	contexts := l.endAllContexts()
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(ErrClosed)
	}
}

// giveUp releases a lock that has not ended, in the background.
func (l *lease) giveUp(ctx context.Context) {
	if l.past() {
		_ = l.first.Err() // it was lost
		return
	}
	if !l.endFirst(ErrClosed) {
		return
	}
	if !l.park() {
		l.attempt.Abandon()
	}
	c := l.locker.newCall("unlock", l.first.call.key, l.first.call.settings)
	c.tellHeld(ctx, l.locker.settings.hooks.Unlocked, l.heldFor(), nil)
}

// past reports whether the validity of a lock has ended.
func (l *lease) past() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Past(l.locker.clock.Now())
}

// released reports whether a lock ended with that cause because it was released.
func wasReleased(cause error) bool { return cause == ErrReleased || cause == ErrClosed }
