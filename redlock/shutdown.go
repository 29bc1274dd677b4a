package redlock

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/ending"
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
//
// Shutdown does not wait for calls that are under way. Such a call may leave keys on the
// nodes, and their deletion may still be under way when Shutdown returns. So wait for these
// calls before you call Shutdown, or call it again when they have returned.
func (l *Locker) Shutdown(ctx context.Context) error {
	if l == nil || l.base == nil {
		return errZero
	}
	l.group.Close()
	if err := l.keeper.Shutdown(ctx); err != nil {
		return fmt.Errorf("redlock: shutdown: functions still run under their locks, %d in all, and keep these until they return: %w",
			l.keeper.Running(), ending.Of(ctx, err))
	}
	return l.cleaned(ctx, "shutdown")
}
