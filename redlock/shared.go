package redlock

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// opShared is the operation of calls that lock to read, in errors.
const opShared = "rlock"

// RLock waits until it holds the lock on key together with others that only read: any
// number of readers may hold a lock, or one caller of [Locker.Lock]. It waits as Lock does,
// in the same queue. A reader does not overtake a waiting writer, so readers do not keep
// writers waiting. [Lock.Shared] tells the handles apart. Everything else about them is the
// same: contexts, extensions, Unlock, [Handover].
//
// A shared lock has no fencing token: [Lock.Fence] is 0. WithFencing as a default of the
// Locker has no effect, and as an option of the call it is rejected. A ctx that holds the
// key cannot lock it for itself, because two readers that both want to write would wait for
// each other. All nodes must run scripts (backend.Scripter). See docs/kinds.md.
func (l *Locker) RLock(ctx context.Context, key string, opts ...LockOption) (*Lock, error) {
	return l.rlock(ctx, key, opts, false)
}

// TryRLock makes one attempt to lock as [Locker.RLock] does, and does not queue. It is
// otherwise like [Locker.TryLock]. The error also matches [ErrTaken] if others read and a
// writer waits.
func (l *Locker) TryRLock(ctx context.Context, key string, opts ...LockOption) (*Lock, error) {
	return l.rlock(ctx, key, opts, true)
}

func (l *Locker) rlock(ctx context.Context, key string, opts []LockOption, try bool) (*Lock, error) {
	c, err := l.prepareShared(ctx, key, opts, try)
	if err != nil {
		return nil, err
	}
	return c.done(c.lock(ctx))
}

// DoShared holds the lock on key together with others that only read while fn runs. It
// waits for the lock like [Locker.RLock], and is otherwise like [Locker.Do].
func (l *Locker) DoShared(ctx context.Context, key string, fn func(context.Context) error, opts ...LockOption) error {
	return l.do(ctx, key, fn, opts, l.RLock)
}

// prepareShared is prepareLock for a call that locks to read.
func (l *Locker) prepareShared(ctx context.Context, key string, opts []LockOption, try bool) (*call, error) {
	s, err := l.lockSettings(opts, try)
	if err == nil && s.given&givenFencing != 0 {
		err = errors.New("no fencing token: a shared lock has none")
	}
	s.fencing = false
	c, err := l.prepare(ctx, opShared, key, s, err)
	if err != nil {
		return nil, err
	}
	c.shared = true
	if err := l.canShare(c.op, c.fullKey); err != nil {
		c.free()
		return nil, err
	}
	return c, nil
}

// canShare returns why the lock fullKey cannot be shared, or nil.
func (l *Locker) canShare(op, fullKey string) error {
	if _, _, ok := proto.Slot(fullKey); ok {
		return fmt.Errorf("redlock: %s %s: no shared lock: it is a permit", op, text.Quote(fullKey))
	}
	if err := l.group.CanShare(fullKey); err != nil {
		return fmt.Errorf("redlock: %s %s: %w", op, text.Quote(fullKey), err)
	}
	return nil
}

// Shared reports whether others may hold the lock at the same time, to read: it was
// acquired with [Locker.RLock], or downgraded.
func (l *Lock) Shared() bool { return l.lease.Shared() }

// Downgrade turns the lock into a shared one, as if [Locker.RLock] had acquired it, without
// releasing it in between. Readers that wait before the next writer then read too. The
// caller must have stopped writing before the call. It also extends the lock to its TTL, as
// [Lock.Extend] does, and blocks and fails like that. A lock that is shared already is only
// extended.
//
// After an error that matches [ErrUnavailable] the lock is a shared one all the same, and
// valid until [Lock.Until]. There is no way back. A fencing token ends: [Lock.Fence] is 0
// from then on, and [FenceFromContext] no longer finds it.
//
// Downgrade fails before any I/O, and changes nothing, in three cases: there are other
// handles on the lock ([WithReentrancy]), whose callers may be writing; the lock is a
// permit; or a node does not run scripts.
func (l *Lock) Downgrade(ctx context.Context) error {
	const op = "downgrade"
	if err := l.locker.checkContext(ctx, op, l.key()); err != nil {
		return err
	}
	if err := l.notHeld(op, l.Err()); err != nil {
		return err
	}
	if err := l.locker.canShare(op, l.fullKey()); err != nil {
		return err
	}
	if !l.lease.Share() {
		return fmt.Errorf("redlock: %s %s: there are other handles on the lock (WithReentrancy), whose callers may be writing: unlock them before",
			op, text.Quote(l.fullKey()))
	}
	_, err := l.renewWith(ctx, op, l.ttl, l.lease.Attempt().Downgrade)
	return err
}

// errUpgrade is why a call cannot nest in a shared lock.
var errUpgrade = errors.New("the lock that ctx holds is a shared one: to lock for itself, " +
	"the call would have to wait until no other caller reads, and two such callers would wait for each other: unlock it before")
