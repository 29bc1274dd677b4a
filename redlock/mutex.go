package redlock

import (
	"context"
	"fmt"
	"sync"
)

// A Mutex is one key of a [Locker], to be locked again and again, for code that
// wants the shape of [sync.Mutex]. Its methods may be called concurrently. Two
// calls of Lock exclude each other like those of two processes: the second waits.
//
// What needs the handle, such as its context, uses [Locker.Lock] or [Locker.Do].
type Mutex struct {
	locker *Locker
	key    string
	opts   []LockOption

	mu   sync.Mutex
	lock *Lock // the last one acquired and not unlocked
}

// Mutex returns a Mutex on key; opts hold for each of its locks. It does no I/O;
// a bad key or option is an error of its Lock.
func (l *Locker) Mutex(key string, opts ...LockOption) *Mutex {
	return &Mutex{locker: l, key: key, opts: opts}
}

// Lock locks as [Locker.Lock] does.
func (m *Mutex) Lock(ctx context.Context) error {
	return m.keep(m.locker.Lock(ctx, m.key, m.opts...))
}

// TryLock locks as [Locker.TryLock] does.
func (m *Mutex) TryLock(ctx context.Context) error {
	return m.keep(m.locker.TryLock(ctx, m.key, m.opts...))
}

func (m *Mutex) keep(lock *Lock, err error) error {
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lock = lock
	return nil
}

// Unlock unlocks as [Lock.Unlock] does. Without a lock to unlock it returns an error
// that matches [ErrNotHeld], and does nothing.
func (m *Mutex) Unlock(ctx context.Context) error {
	m.mu.Lock()
	lock := m.lock
	m.lock = nil
	m.mu.Unlock()
	if lock == nil {
		return fmt.Errorf("redlock: unlock %q: %w: the Mutex is not locked", m.key, ErrNotHeld)
	}
	return lock.Unlock(ctx)
}
