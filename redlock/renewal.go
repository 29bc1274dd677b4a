package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// Extend makes the lock live for at least ttl from now. It never makes it shorter: if
// more than ttl is left, it only verifies that the lock is held. It blocks until a quorum
// has answered, for the node timeout at most (an eighth of ttl, if that is shorter), or
// until ctx ends. After an extension that succeeded, nodes that have lost the lock are
// asked in the background to grant it again, as docs/safety.md describes.
//
// An error that matches [ErrNotHeld] means that the lock is lost, or was unlocked; its
// contexts end. An error that matches [ErrUnavailable] means that too few nodes answered.
// The lock then stays valid until [Lock.Until], as before, and some nodes may have
// extended it. A lock past its validity stays lost, even if the servers still have it or
// their answers arrive just after its end.
func (l *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	_, err := l.extend(ctx, ttl)
	return err
}

// extend is Extend, and also returns the result of its round, if there was one.
func (l *Lock) extend(ctx context.Context, ttl time.Duration) (quorum.Result, error) {
	err := checkTTL(ttl)
	ttl = ttl.Truncate(time.Millisecond)
	if err == nil {
		err = l.locker.settings.checkTTL(ttl)
	}
	if err == nil && l.call.settings.fencing {
		err = l.locker.settings.checkCounterLife(ttl)
	}
	if err == nil {
		err = l.locker.settings.checkQuarantine(ttl)
	}
	if err != nil {
		return quorum.Result{}, fmt.Errorf("redlock: extend %s: %w", text.Quote(l.call.fullKey), err)
	}
	if err := l.locker.checkContext(ctx, "extend", l.call.key); err != nil {
		return quorum.Result{}, err
	}
	ttl = l.keep(ttl)
	n, err := l.renew(ttl)
	if err != nil {
		return quorum.Result{}, err
	}
	res := l.attempt.Extend(ctx, ttl, l.locker.settings.timeout(ttl))
	return res, n.end(ctx, res)
}

// A renewal is an extension of a lock that is under way.
type renewal struct {
	lock  *Lock
	call  *call
	until quorum.Instant // of the lock, if the extension succeeds
}

// renew begins an extension, unless the lock has ended.
func (l *Lock) renew(ttl time.Duration) (renewal, error) {
	if err := l.lostOrReleased("extend"); err != nil {
		return renewal{}, err
	}
	c := l.locker.newCall("extend", l.call.key, l.call.settings)
	c.settings.ttl = ttl
	return renewal{l, c, l.locker.clock.Now().Add(ttl - l.locker.settings.driftOf(ttl))}, nil
}

// end processes the result of the extension, and returns its error.
func (n renewal) end(ctx context.Context, res quorum.Result) error {
	l, c := n.lock, n.call
	c.note(res)
	var err error
	if res.Verdict == quorum.Won {
		err = l.extended(n.until, res)
	} else {
		err = l.unextended(c.failed(ctx, res))
	}
	if res.Verdict == quorum.Gone {
		l.end(err)
	}
	c.tell(ctx, l.locker.settings.hooks.Extended, err)
	return err
}

// extended processes an extension that a quorum confirmed, unless the lock has ended
// meanwhile. The lock has also ended if its validity was over before the answer came.
// Another caller may then have held the lock in between, and released it before nodes
// that had lost the token were given it again.
func (l *Lock) extended(until quorum.Instant, res quorum.Result) error {
	l.mu.Lock()
	now := l.locker.clock.Now()
	if l.until.Past(now) {
		l.mu.Unlock()
		return l.lostOrReleased("extend")
	}
	if until.Until(now) > l.until.Until(now) {
		l.until = until
	}
	l.votes, l.failure = res.Votes, nil
	for i, v := range res.Votes {
		if v.Rejoined {
			_, name := l.locker.group.Node(i)
			l.locker.settings.logger.Debug("redlock: a node that had lost the lock has it again",
				"key", text.Name(l.call.fullKey), "node", text.Name(name))
		}
	}
	if l.cause == nil {
		l.attempt.Lasts(l.until)
		if l.expiry != nil {
			l.expiry.Reset(l.until.Until(now))
		}
	}
	l.mu.Unlock()
	return l.lostOrReleased("extend")
}

// unextended processes a failed extension. It returns err, or an error that says that the
// lock was unlocked meanwhile.
func (l *Lock) unextended(err error) error {
	l.mu.Lock()
	l.failure = err
	released := wasReleased(l.cause)
	l.mu.Unlock()
	if released {
		return l.lostOrReleased("extend")
	}
	return err
}
