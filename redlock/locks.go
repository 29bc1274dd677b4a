package redlock

import (
	"context"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/joint"
)

// Locks is the locks on several keys that [Locker.LockAll] has acquired together. Like a
// [Lock], it is used once, and its methods may be called concurrently.
type Locks struct {
	locks []*Lock // by key
}

// Keys returns the keys that were locked, sorted and each of them once, without the
// Locker's prefix.
func (l *Locks) Keys() []string {
	keys := make([]string, len(l.locks))
	for i, lock := range l.locks {
		keys[i] = lock.key()
	}
	return keys
}

// of returns the lock on key, or nil.
func (l *Locks) of(key string) *Lock {
	for _, lock := range l.locks {
		if lock.key() == key {
			return lock
		}
	}
	return nil
}

// Fence returns the fencing token of the lock on key: see [Lock.Fence]. Each key has a
// token of its own. It returns 0 for a key that is not among [Locks.Keys].
func (l *Locks) Fence(key string) uint64 {
	if lock := l.of(key); lock != nil {
		return lock.Fence()
	}
	return 0
}

// Report returns what each node did in the last round about key that succeeded: see
// [Lock.Report]. It returns nil for a key that is not among [Locks.Keys].
func (l *Locks) Report(key string) Report {
	if lock := l.of(key); lock != nil {
		return lock.Report()
	}
	return nil
}

// Handover returns what another process needs to continue with the lock on key: see
// [Lock.Handover]. The other process takes over each key with [Locker.Resume]. It returns
// the zero Handover, which Resume rejects, for a key that is not among [Locks.Keys].
func (l *Locks) Handover(key string) Handover {
	if lock := l.of(key); lock != nil {
		return lock.Handover()
	}
	return Handover{}
}

// Until returns when the validity of the first key ends: see [Lock.Until].
func (l *Locks) Until() time.Time {
	first := l.locks[0].Until()
	for _, lock := range l.locks[1:] {
		if until := lock.Until(); until.Before(first) {
			first = until
		}
	}
	return first
}

// Err returns nil while all keys are held, as far as this process knows without asking
// the servers. After that it returns why one of them is not: see [Lock.Err]. The error of
// a lost lock names its key.
func (l *Locks) Err() error {
	for _, lock := range l.locks {
		if err := lock.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Extend makes all locks live for at least ttl from now, together. It blocks like
// [Lock.Extend].
//
// It returns nil if every lock was extended. Otherwise the error matches the error of each
// lock that was not: [ErrNotHeld] if one is lost, [ErrUnavailable] if too few nodes
// answered about one. The others are extended.
func (l *Locks) Extend(ctx context.Context, ttl time.Duration) error {
	return each(l.locks, func(lock *Lock) error { return lock.Extend(ctx, ttl) })
}

// Unlock ends the contexts with [ErrReleased], then releases all locks together. It
// blocks like [Lock.Unlock], and may be called again. Keys that ctx held before are only
// left ([WithReentrancy]).
//
// It returns nil if every lock was released. Otherwise the error matches the error of
// each lock that was not, and the others are released: a lost key does not keep the rest.
func (l *Locks) Unlock(ctx context.Context) error {
	if len(l.locks) == 1 {
		return l.locks[0].Unlock(ctx)
	}
	var (
		failures = make([]error, len(l.locks))
		next     = make([]leaving, len(l.locks))
		begun    = make([]bool, len(l.locks))  // others that unlock wait for the result
		calls    = make([]*call, len(l.locks)) // nil: there is nothing more to do
		attempts = make([]*attempt.Attempt, 0, len(l.locks))
		losses   []func()
		timeout  time.Duration
		sent     bool
	)
	defer func() { // even if a hook panics, as in Lock.Unlock
		if !sent {
			for _, a := range attempts {
				a.Abandon()
			}
		}
		for i, lock := range l.locks {
			if begun[i] {
				lock.handle.EndUnlock(failures[i])
			}
		}
	}()
	for i, lock := range l.locks { // all of them before the first hook
		if done, elsewhere := lock.handle.BeginUnlock(); elsewhere {
			failures[i] = lock.unlockedElsewhere(ctx, done)
			continue
		}
		begun[i] = true
		var lost func()
		if next[i], lost, failures[i] = lock.leave(lock.locker.clock.Now()); lost != nil {
			losses = append(losses, lost)
		}
		if next[i] == isOver {
			continue
		}
		failures[i] = errInterrupted
		if next[i] == toRelease {
			attempts = append(attempts, lock.lease.Attempt())
			timeout = max(timeout, lock.locker.settings.Timeout(lock.ttl))
		}
	}
	for _, lost := range losses {
		lost()
	}
	for i, lock := range l.locks {
		if next[i] == isOver {
			continue
		}
		c := lock.locker.takeCall()
		*c = *lock.locker.newCall("unlock", lock.key(), lock.callSettings())
		c.begin(ctx)
		if next[i] == isParked {
			failures[i] = lock.parked(c)
			c.free()
			continue
		}
		calls[i] = c
	}
	results := l.locks[0].locker.group.ReleaseAll(ctx, attempts, timeout)
	sent = true
	for i, c := range calls {
		if c == nil {
			continue
		}
		failures[i] = c.released(ctx, results[0])
		results = results[1:]
	}
	for i, c := range calls {
		if c == nil {
			continue
		}
		lock := l.locks[i]
		c.tellHeld(lock.locker.settings.hooks.Unlocked, lock.lease.HeldFor(), failures[i])
		c.free()
	}
	return join(failures)
}

// each calls f for all locks at the same time, so that their requests share calls. It
// returns the errors in the order of the keys, or nil if there are none.
func each(locks []*Lock, f func(*Lock) error) error {
	if len(locks) == 1 {
		return f(locks[0])
	}
	failures := make([]error, len(locks))
	joint.Each(len(locks), func(i int) { failures[i] = f(locks[i]) })
	return join(failures)
}

// join returns the errors that are not nil as one.
func join(failures []error) error {
	var some severalErrors
	for _, err := range failures {
		if err != nil {
			some = append(some, err)
		}
	}
	switch len(some) {
	case 0:
		return nil
	case 1:
		return some[0]
	}
	return &some
}

// severalErrors is the errors of several keys, on one line.
type severalErrors []error

func (e *severalErrors) Error() string {
	words := make([]string, len(*e))
	for i, err := range *e {
		words[i] = err.Error()
	}
	return strings.Join(words, "; ")
}

func (e *severalErrors) Unwrap() []error { return *e }

// Context returns a copy of parent that ends when the first of the locks ends, like that
// of [Lock.Context]. If a lock was lost, the [context.Cause] matches [ErrNotHeld] and names
// the key; the other keys stay locked until [Locks.Unlock].
//
// [FenceFromContext] returns 0 for a context of several keys, because each has a token of
// its own: see [Locks.Fence].
func (l *Locks) Context(parent context.Context) context.Context {
	return contextOf(parent, l.locks)
}

// contextOf returns a context of all locks.
func contextOf(parent context.Context, locks []*Lock) context.Context {
	if len(locks) == 1 {
		return locks[0].Context(parent)
	}
	return &locksContext{joint.NewContext(parent, locks)}
}

// locksContext is a context of several locks.
type locksContext struct{ *joint.Context }

// Value finds no fencing token, because it would be that of one key.
func (c *locksContext) Value(key any) any {
	if _, ok := key.(fenced); ok {
		return nil
	}
	return c.Context.Value(key)
}
