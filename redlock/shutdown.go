package redlock

import (
	"context"
	"fmt"
)

// Shutdown closes the Locker like [Locker.Close], and releases every lock that was
// acquired through it or a Locker that shares its nodes ([Locker.With]). So nobody has to
// wait for a TTL when a program ends. Calls that wait return [ErrClosed], and the
// contexts of all locks end with the cause ErrClosed. A lock under which [Locker.Do] or
// [Locker.TryDo] runs a function is released when the function returns, and Shutdown
// waits for that. Any other lock is released at once, so stop the work under it before. A
// lock whose minimum hold is not over ([WithMinHold]) is left to expire.
//
// Shutdown returns nil when everything else has been deleted on the nodes or has expired.
// If ctx ends first, it returns an error that matches ctx's; functions keep their locks,
// and deletions go on in the background. It may be called again. A function that Do runs
// must not call it, because it would wait for itself. It does not close the clients of
// the nodes. See docs/options.md.
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

// interrupt ends the contexts of a lock, and those that are requested later, but not the
// lock.
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

// wasReleased reports whether cause means that a lock ended because it was released.
func wasReleased(cause error) bool { return cause == ErrReleased || cause == ErrClosed }
