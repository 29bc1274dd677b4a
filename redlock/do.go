package redlock

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/text"
)

// Do holds the lock on key while fn runs. It waits for the lock as [Locker.Lock]
// does, extends it for as long as fn takes ([WithAutoExtend]), and unlocks it
// afterwards, also when fn panics. The ctx that fn gets derives from ctx, and
// ends when the lock is lost: fn must then stop. Do always waits for fn. With
// [WithFencing], [FenceFromContext] says the lock's token.
//
// ctx bounds both the wait and fn: a ctx with a deadline of 5 s ends the ctx of fn 5 s
// after the call, however long the wait was. To bound the wait alone, use [WithWait]. To
// bound fn alone, derive a ctx in fn. [WithMaxHold] ends a lock that is held for too long.
//
// Do with the ctx of fn, on the same key, fails at once: it would wait for itself. See
// [WithReentrancy].
//
// If the lock cannot be had, fn does not run, and the error is that of Lock.
// Otherwise the error is what fn returned, joined with one that matches
// [ErrNotHeld] if the lock was lost before fn had ended, unless fn returned that one
// itself: it is the [context.Cause] of its ctx. That the unlocking was
// not answered, or was refused as by an ACL, is only logged ([WithLogger]): fn ran
// under a valid lock, and must not be run again for that.
func (l *Locker) Do(ctx context.Context, key string, fn func(context.Context) error, opts ...LockOption) error {
	return l.do(ctx, key, fn, opts, l.Lock)
}

// TryDo runs fn under the lock unless somebody else holds it. It is [Locker.Do] with a
// single attempt, as [Locker.TryLock] makes it: if the lock is taken, fn does not run, and
// the error matches [ErrTaken].
//
// A lock is free again as soon as fn has ended. For work that is to run once in a period
// on any of several machines, whose clocks differ, see [WithMinHold].
func (l *Locker) TryDo(ctx context.Context, key string, fn func(context.Context) error, opts ...LockOption) error {
	return l.do(ctx, key, fn, opts, l.TryLock)
}

func (l *Locker) do(ctx context.Context, key string, fn func(context.Context) error, opts []LockOption,
	acquire func(context.Context, string, ...LockOption) (*Lock, error),
) error {
	if err := l.check("do", key); err != nil {
		return err
	}
	if fn == nil {
		return fmt.Errorf("redlock: do %s: a function that is nil", text.Quote(l.settings.prefix+key))
	}
	lock, err := acquire(ctx, key, append(opts[:len(opts):len(opts)], WithAutoExtend())...)
	if err != nil {
		return err
	}
	if !l.register.begin(lock.lease) {
		_ = lock.Unlock(ctx)
		return ErrClosed
	}
	defer l.register.finish(lock.lease)
	unlocked := false
	unlock := func() error {
		unlocked = true
		lost := lock.Err()
		err := lock.Unlock(ctx)
		switch {
		case lost != nil:
			return lost
		case errors.Is(err, ErrNotHeld):
			return err
		case err != nil:
			l.settings.logger.Warn("redlock: unlocking was not answered, or was refused; what is left is deleted in the background, or expires",
				"key", text.Name(lock.call.fullKey), "error", err)
		}
		return nil
	}
	defer func() { // fn panicked or ended the goroutine; let it
		if !unlocked {
			_ = unlock()
		}
	}()
	err = fn(lock.Context(ctx))
	lost := unlock()
	if lost == nil || errors.Is(err, lost) { // fn may have returned the cause of its ctx
		return err
	}
	return errors.Join(err, lost)
}
