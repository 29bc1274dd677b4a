package redlock

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// defaults returns the settings of calls without options. Those of a zero Locker are
// empty, and every call on it fails.
func (l *Locker) defaults() callSettings {
	if l == nil {
		return callSettings{}
	}
	return l.settings.call
}

// prepareLock is prepare for a call that locks. If try is true, the call makes a single
// attempt.
func (l *Locker) prepareLock(ctx context.Context, key string, opts []LockOption, try bool) (*call, error) {
	s, err := l.lockSettings(opts, try)
	return l.prepare(ctx, "lock", key, s, err)
}

// lockSettings returns the settings of a call that locks with these options.
func (l *Locker) lockSettings(opts []LockOption, try bool) (s callSettings, err error) {
	s = l.defaults()
	s.given = 0
	if len(opts) > 0 { // with allocates
		s, err = s.with(opts)
	}
	if try && err == nil {
		s, err = s.once()
	}
	return s, err
}

// prepare makes all checks that need no I/O. optErr is the error of the options from
// which the settings were made.
func (l *Locker) prepare(ctx context.Context, op, key string, s callSettings, optErr error) (*call, error) {
	if err := l.check(op, key); err != nil {
		return nil, err
	}
	if optErr == nil {
		optErr = l.settings.check(s)
	}
	if optErr == nil {
		optErr = s.checkGiven()
	}
	if optErr != nil {
		return nil, fmt.Errorf("redlock: %s %s: %w", op, text.Quote(l.settings.prefix+key), optErr)
	}
	checked := l.newCall(op, key, s) // on the stack
	if s.fencing {
		var err error
		if checked.fencing, err = l.group.Fencing(checked.fullKey); err != nil {
			return nil, fmt.Errorf("redlock: %s %s: %w", op, text.Quote(checked.fullKey), err)
		}
	}
	if err := l.checkContext(ctx, op, key); err != nil {
		return nil, err
	}
	c := l.takeCall()
	*c = *checked
	return c, nil
}

// check rejects a Locker that cannot be used, and a key that cannot be locked.
func (l *Locker) check(op, key string) error {
	if err := l.usable(); err != nil {
		return err
	}
	if key == "" {
		return fmt.Errorf("redlock: %s: an empty key", op)
	}
	return checkKey(op, l.settings.prefix+key)
}

// usable rejects a Locker that New has not made, or that was closed.
func (l *Locker) usable() error {
	switch {
	case l == nil || l.base == nil:
		return errZero
	case l.group.Closed():
		return ErrClosed
	}
	return nil
}

// checkKey rejects a key that the library keeps beside another lock, and one that may be
// a marker. It checks the key on the servers, because the result must not depend on the
// prefix of this Locker. The slots of a [Semaphore] are locks for operations on locks that
// exist already.
func checkKey(op, fullKey string) error {
	conflict := proto.Conflict
	switch op {
	case "inspect", "break", "resume", "release":
		conflict = proto.SlotConflict
	}
	if why := conflict(fullKey); why != "" {
		return fmt.Errorf("redlock: %s %s: the key is not free for a lock: %s: choose another key", op, text.Quote(fullKey), why)
	}
	return nil
}

// checkContext rejects a ctx that has ended.
func (l *Locker) checkContext(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redlock: %s %s: the context has ended already: %w", op, text.Quote(l.settings.prefix+key), ending.Of(ctx, err))
	}
	return nil
}
