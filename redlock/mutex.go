package redlock

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A Mutex is one key of a [Locker] with the methods of a mutex. It can be locked again
// and again. Its methods may be called concurrently. Two Mutexes on one key exclude each
// other like two processes. For the handle of a lock, such as for its context, use
// [Locker.Lock] or [Locker.Do].
//
// A second Lock of the same Mutex waits for the Unlock of the first, even if the lock on
// the servers has expired meanwhile. So a late Unlock never releases somebody else's
// lock.
type Mutex struct {
	locker *Locker
	key    string
	opts   []LockOption
	turn   chan struct{} // capacity 1; full while the Mutex is locked or being locked

	mu      sync.Mutex
	lock    *Lock   // nil unless it is locked
	readers []*Lock // of RLock
}

// Mutex returns a Mutex on key. opts apply to each of its locks. It does no I/O; a bad
// key or option is an error of its Lock.
func (l *Locker) Mutex(key string, opts ...LockOption) *Mutex {
	return &Mutex{locker: l, key: key, opts: append([]LockOption(nil), opts...), turn: make(chan struct{}, 1)}
}

// Lock waits until the Mutex is unlocked, and then locks like [Locker.Lock]. If ctx ends
// while another caller has the Mutex, the error matches [ErrTaken] and ctx's error.
// [WithWait] limits both waits together.
func (m *Mutex) Lock(ctx context.Context) error {
	c, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	defer c.free()
	if c.settings.wait == once {
		return m.TryLock(ctx)
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return c.busy(ending.Of(ctx, ctx.Err()))
	}
	if ctx.Err() != nil { // both were ready
		<-m.turn
		return c.busy(ending.Of(ctx, ctx.Err()))
	}
	return m.keep(func() (*Lock, error) { return m.locker.Lock(ctx, m.key, m.opts...) })
}

// TryLock locks like [Locker.TryLock]. If another caller has the Mutex, it returns at
// once with an error that matches [ErrTaken].
func (m *Mutex) TryLock(ctx context.Context) error {
	c, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	select {
	case m.turn <- struct{}{}:
	default:
		_, err := c.done(nil, c.busy(nil))
		return err
	}
	c.settings.wait = once
	return m.keep(func() (*Lock, error) { return c.done(c.lock(ctx)) })
}

// prepare makes the Locker's checks before any waiting.
func (m *Mutex) prepare(ctx context.Context) (*call, error) {
	return m.locker.prepareLock(ctx, m.key, m.opts, false)
}

// busy returns the error of a call that failed because another caller has the Mutex.
func (c *call) busy(ctxErr error) error {
	e := c.quorumError(ErrTaken)
	e.detail, e.ctxErr = "this Mutex is locked", ctxErr
	return e
}

// keep keeps the lock that acquire returns. After an error, and if a hook panics, it lets the
// next caller in.
func (m *Mutex) keep(acquire func() (*Lock, error)) error {
	kept := false
	defer func() {
		if !kept {
			<-m.turn
		}
	}()
	lock, err := acquire()
	if err != nil {
		return err
	}
	kept = true
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lock = lock
	return nil
}

// Unlock unlocks like [Lock.Unlock], and lets the next caller in, whatever the result. If
// the Mutex is not locked, it returns an error that matches [ErrNotHeld], and does
// nothing.
func (m *Mutex) Unlock(ctx context.Context) error {
	m.mu.Lock()
	lock := m.lock
	m.lock = nil
	m.mu.Unlock()
	if lock == nil {
		return fmt.Errorf("redlock: unlock %s: %w: the Mutex is not locked", text.Quote(m.fullKey()), ErrNotHeld)
	}
	defer func() { <-m.turn }()
	return lock.Unlock(ctx)
}

// RLock locks like [Locker.RLock]. Several callers may have the Mutex in this way. It waits
// for a caller of Lock on the servers, also if that is this Mutex.
func (m *Mutex) RLock(ctx context.Context) error {
	return m.keepReading(m.locker.RLock(ctx, m.key, m.opts...))
}

// TryRLock locks like [Locker.TryRLock].
func (m *Mutex) TryRLock(ctx context.Context) error {
	c, err := m.locker.prepareShared(ctx, m.key, m.opts, false)
	if err != nil {
		return err
	}
	c.settings.wait = once
	return m.keepReading(c.done(c.lock(ctx)))
}

func (m *Mutex) keepReading(lock *Lock, err error) error {
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers = append(m.readers, lock)
	return nil
}

// RUnlock undoes one RLock or TryRLock, as [Lock.Unlock] does. Of several shared locks of
// this Mutex it unlocks the one that would end first, so callers that still read keep those
// that last longest. If there is none, it returns an error that matches [ErrNotHeld], and
// does nothing.
func (m *Mutex) RUnlock(ctx context.Context) error {
	m.mu.Lock()
	var lock *Lock
	if len(m.readers) > 0 {
		first := 0
		for i, l := range m.readers {
			if l.Until().Before(m.readers[first].Until()) {
				first = i
			}
		}
		lock = m.readers[first]
		m.readers = slices.Delete(m.readers, first, first+1)
	}
	m.mu.Unlock()
	if lock == nil {
		return fmt.Errorf("redlock: unlock %s: %w: the Mutex is not locked to read", text.Quote(m.fullKey()), ErrNotHeld)
	}
	return lock.Unlock(ctx)
}

// fullKey returns the key for errors. A zero Mutex has none.
func (m *Mutex) fullKey() string {
	if m.locker == nil {
		return m.key
	}
	return m.locker.settings.prefix + m.key
}
