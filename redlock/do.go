package redlock

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/text"
)

// Do holds the lock on key while fn runs. It waits for it as [Locker.Lock]
// does, extends it for as long as fn takes ([WithAutoExtend]), and unlocks it
// afterwards, also when fn panics. The ctx that fn gets derives from ctx, and
// ends when the lock is lost: fn must then stop. Do always waits for fn. With
// [WithFencing], [FenceFromContext] says the lock's token.
//
// If the lock cannot be had, fn does not run, and the error is that of Lock.
// Otherwise the error is what fn returned, joined with one that matches
// [ErrNotHeld] if the lock was lost before fn had ended, unless fn returned that one
// itself: it is the [context.Cause] of its ctx. That the unlocking was
// not answered, or was refused as by an ACL, is only logged ([WithLogger]): fn ran
// under a valid lock, and must not be run again for that.
func (l *Locker) Do(ctx context.Context, key string, fn func(context.Context) error, opts ...LockOption) error {
	if err := l.check("do", key); err != nil {
		return err
	}
	if fn == nil {
		return fmt.Errorf("redlock: do %s: a function that is nil", text.Quote(l.settings.prefix+key))
	}
	opts = append(opts[:len(opts):len(opts)], WithAutoExtend())
	lock, err := l.Lock(ctx, key, opts...)
	if err != nil {
		return err
	}
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
