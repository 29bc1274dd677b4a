package redlock

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/lease"
	"github.com/quorumlock/quorumlock/internal/text"
)

// Do holds the lock on key while fn runs. It waits for the lock like [Locker.Lock],
// extends it for as long as fn takes ([WithAutoExtend]), and unlocks it afterwards, even
// if fn panics. The ctx of fn derives from ctx, and ends when the lock is lost: fn must
// then stop. Do always waits for fn. With [WithFencing], [FenceFromContext] returns the
// lock's token.
//
// ctx limits both the wait and fn: with a deadline of 5 s, the ctx of fn ends 5 s after
// the call, however long the wait was. To limit only the wait, use [WithWait]. To limit
// only fn, derive a ctx in fn. [WithMaxHold] limits the hold. Do with the ctx of fn and
// the same key fails at once, because it would wait for itself: see [WithReentrancy].
//
// If the lock cannot be acquired, fn does not run, and the error is that of Lock.
// Otherwise Do returns fn's error. If the lock was lost before fn ended, an error that
// matches [ErrNotHeld] is joined to it, unless fn returned that one itself (it is the
// [context.Cause] of its ctx). A failure to unlock is only logged ([WithLogger]), because
// fn ran under a valid lock, and an error would invite callers to run it again.
func (l *Locker) Do(ctx context.Context, key string, fn func(context.Context) error, opts ...LockOption) error {
	return l.do(ctx, key, fn, opts, l.Lock)
}

// TryDo runs fn under the lock unless somebody else holds it. It is [Locker.Do] with a
// single attempt, like [Locker.TryLock]. If the lock is taken, fn does not run, and the
// error matches [ErrTaken].
//
// The lock is free again as soon as fn has ended. For a job that should run once in a
// period on several machines whose clocks differ, see [WithMinHold].
func (l *Locker) TryDo(ctx context.Context, key string, fn func(context.Context) error, opts ...LockOption) error {
	return l.do(ctx, key, fn, opts, l.TryLock)
}

// DoAll holds the locks on all keys while fn runs. It waits for them like
// [Locker.LockAll], and otherwise does what [Locker.Do] does: it extends all of them, and
// unlocks them even if fn panics. The ctx of fn ends when the first of them is lost, and
// its [context.Cause] names the key. [FenceFromContext] returns 0 for it, because each key
// has a token of its own: with [WithFencing] use LockAll and [Locks.Fence].
func (l *Locker) DoAll(ctx context.Context, keys []string, fn func(context.Context) error, opts ...LockOption) error {
	return l.doAll(ctx, keys, fn, opts, l.LockAll)
}

// TryDoAll runs fn under the locks on all keys unless somebody else holds one of them. It
// is [Locker.DoAll] with a single attempt, like [Locker.TryLockAll].
func (l *Locker) TryDoAll(ctx context.Context, keys []string, fn func(context.Context) error, opts ...LockOption) error {
	return l.doAll(ctx, keys, fn, opts, l.TryLockAll)
}

func (l *Locker) doAll(ctx context.Context, keys []string, fn func(context.Context) error, opts []LockOption,
	acquire func(context.Context, []string, ...LockOption) (*Locks, error),
) error {
	if fn == nil {
		return errors.New("redlock: do: a function that is nil")
	}
	locks, err := acquire(ctx, keys, append(opts[:len(opts):len(opts)], WithAutoExtend())...)
	if err != nil {
		return err
	}
	return l.run(ctx, fn, locks, locks.locks...)
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
	return l.run(ctx, fn, lock, lock)
}

// A handle is a [Lock] or [Locks].
type handle interface {
	Context(parent context.Context) context.Context
	Err() error
	Unlock(ctx context.Context) error
}

// run runs fn under h, which consists of locks.
func (l *Locker) run(ctx context.Context, fn func(context.Context) error, h handle, locks ...*Lock) error {
	var room [1]*lease.Lease // for one lock, without an allocation
	leases := room[:0]
	for _, lock := range locks {
		leases = append(leases, &lock.lease)
	}
	if !l.keeper.Enter(leases...) {
		_ = h.Unlock(ctx)
		return ErrClosed
	}
	defer l.keeper.Leave(leases...)
	unlocked := false
	unlock := func() (lost error) {
		unlocked = true
		defer func() { // even if the hook Lost panics in Err
			err := h.Unlock(ctx)
			switch {
			case lost != nil:
			case errors.Is(err, ErrNotHeld):
				lost = err
			case err != nil:
				l.settings.Logger.Warn("redlock: unlocking was not answered, or was refused; what is left is deleted in the background, or expires",
					"key", text.Name(locks[0].fullKey()), "error", err)
			}
		}()
		return h.Err()
	}
	defer func() { // fn panicked or ended the goroutine
		if !unlocked {
			_ = unlock()
		}
	}()
	err := fn(h.Context(ctx))
	lost := unlock()
	if lost == nil || errors.Is(err, lost) { // fn may have returned the cause of its ctx
		return err
	}
	return errors.Join(err, lost)
}
