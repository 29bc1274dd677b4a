package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/quorumlock/quorumlock/internal/text"
)

// mostKeys is how many keys one call may lock.
const mostKeys = 128

// LockAll waits until it holds the locks on all keys, in any order and with repetitions.
// It acquires all or none. If all are free, that takes one round trip to each node. If
// not, it keeps only the keys that sort before the first one that is taken, and waits for
// that one in its queue. So calls of LockAll never wait for each other in a circle,
// whatever keys they name. While it waits, it extends the keys that it keeps; if one of
// them is lost, it acquires that one again.
//
// The options apply to each key, and [WithWait] and ctx limit the call as a whole, like
// [Locker.Lock]. The error is that of Lock for the key that could not be acquired. Nothing
// stays locked then. Before any I/O, LockAll also rejects no keys and more than 128, and a
// key that sorts before another one that ctx already holds, because two such callers could
// wait for each other. See docs/kinds.md.
func (l *Locker) LockAll(ctx context.Context, keys []string, opts ...LockOption) (*Locks, error) {
	return l.lockAll(ctx, keys, opts, false)
}

// TryLockAll makes one attempt to lock all keys, and does not queue. It takes as long as
// [Locker.TryLock] at most. If one key is taken, it locks none, and the error matches
// [ErrTaken] and names the first such key. Like TryLock it rejects options about waiting.
// Because it does not wait, the order of keys that ctx holds does not matter.
func (l *Locker) TryLockAll(ctx context.Context, keys []string, opts ...LockOption) (*Locks, error) {
	return l.lockAll(ctx, keys, opts, true)
}

func (l *Locker) lockAll(ctx context.Context, keys []string, opts []LockOption, try bool) (*Locks, error) {
	j, err := l.prepareAll(ctx, keys, opts, try)
	if err != nil {
		return nil, err
	}
	return j.lock(ctx)
}

// prepareAll makes all checks that need no I/O.
func (l *Locker) prepareAll(ctx context.Context, keys []string, opts []LockOption, try bool) (*jointCall, error) {
	if len(keys) == 0 {
		return nil, errors.New("redlock: lock: no keys")
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if len(keys) > mostKeys {
		return nil, fmt.Errorf("redlock: lock: %d keys: must be at most %d", len(keys), mostKeys)
	}
	j := &jointCall{keys: make([]jointKey, 0, len(keys))}
	if err := j.prepare(ctx, l, keys, opts, try); err != nil {
		j.free()
		return nil, err
	}
	return j, nil
}

// prepare makes the checks of each key, and those of all of them together.
func (j *jointCall) prepare(ctx context.Context, l *Locker, keys []string, opts []LockOption, try bool) error {
	for _, key := range keys {
		c, err := l.prepareLock(ctx, key, opts, try)
		if err != nil {
			return err
		}
		if c.settings.wait == once {
			c.settings.retry = RetryPolicy{tries: 1}
		}
		j.keys = append(j.keys, jointKey{call: c})
		j.once = c.settings.retry.tries == 1
	}
	for i := range j.keys {
		k := &j.keys[i]
		c, outer := k.call, k.call.held(ctx)
		switch {
		case c.settings.reentrant && outer != nil:
			if err := c.nests(outer); err != nil {
				return err
			}
			k.outer = outer
		case !j.once:
			if err := c.itself(ctx); err != nil {
				return err
			}
		}
	}
	if j.once {
		return nil
	}
	return j.ordered(ctx)
}

// ordered returns an error if the call may wait for a key while ctx holds one that sorts
// behind it.
func (j *jointCall) ordered(ctx context.Context) error {
	missing := slices.IndexFunc(j.keys, func(k jointKey) bool { return k.outer == nil })
	if missing < 0 {
		return nil
	}
	c := j.keys[missing].call
	for outer := range heldBy(ctx, c.locker.base) {
		switch {
		case outer.lock.fullKey() <= c.fullKey || outer.lock.Err() != nil:
		case endsWith(ctx, outer):
			return fmt.Errorf("redlock: lock %s: the key sorts before %s, which ctx holds, so two callers could wait for each other: "+
				"lock both with one LockAll, or do not wait (TryLockAll)", text.Quote(c.fullKey), text.Quote(outer.lock.fullKey()))
		default: // the caller may have detached ctx in order to wait
			c.locker.settings.Logger.Warn("redlock: a call waits for a key that sorts before one that its own ctx holds, so callers may wait for each other (see LockAll)",
				"key", text.Name(c.fullKey), "holds", text.Name(outer.lock.fullKey()))
		}
	}
	return nil
}
