package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/text"
)

// Extend makes the lock live for at least ttl from now. It never makes it shorter: if
// more than ttl is left, it only verifies that the lock is held. It blocks until a quorum
// has answered, for the node timeout at most (an eighth of ttl, if that is shorter), or
// until ctx ends. After an extension that succeeded, nodes that have lost the lock are
// asked in the background to grant it again, as docs/safety.md describes. ttl has the
// limits of [WithTTL]: any other is an error before any I/O.
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
func (l *Lock) extend(ctx context.Context, ttl time.Duration) (round.Result, error) {
	err := checkTTL(ttl)
	ttl = ttl.Truncate(time.Millisecond)
	if err == nil {
		err = l.locker.settings.checkTTL(ttl)
	}
	if err == nil && l.fencing {
		err = l.locker.settings.checkCounterLife(ttl)
	}
	if err == nil {
		err = l.locker.settings.checkQuarantine(ttl)
	}
	if err != nil {
		return round.Result{}, fmt.Errorf("redlock: extend %s: %w", text.Quote(l.fullKey()), err)
	}
	if err := l.locker.checkContext(ctx, "extend", l.key()); err != nil {
		return round.Result{}, err
	}
	if err := l.notHeld("extend", l.Err()); err != nil {
		return round.Result{}, err
	}
	return l.renewWith(ctx, "extend", ttl, l.lease.Attempt().Extend)
}

// renewWith extends the lock with a method of its attempt, as the operation op.
func (l *Lock) renewWith(ctx context.Context, op string, ttl time.Duration,
	extend func(ctx context.Context, ttl, timeout time.Duration) round.Result,
) (round.Result, error) {
	ttl = l.lease.Keep(ttl)
	n, err := l.renew(ctx, ttl, false)
	if err != nil {
		return round.Result{}, err
	}
	res := extend(ctx, ttl, l.locker.settings.Timeout(ttl))
	if err = n.end(ctx, res); err == nil {
		err = l.notHeld(op, l.Err()) // this handle may have been unlocked meanwhile
	}
	return res, err
}

// A renewal is an extension that is under way.
type renewal struct {
	call  call
	hold  *hold
	until clock.Instant // of the lock, if the extension succeeds
}

// renew begins an extension, unless the lock has ended.
func (h *hold) renew(ctx context.Context, ttl time.Duration, automatic bool) (*renewal, error) {
	if err := h.ended("extend"); err != nil {
		return nil, err
	}
	n := &renewal{call: *h.locker.newCall("extend", h.key(), h.callSettings()), hold: h}
	n.call.settings.ttl, n.call.automatic, n.call.shared = ttl, automatic, h.lease.Shared()
	n.call.begin(ctx)
	n.until = h.locker.clock.Now().Add(ttl - h.locker.settings.DriftOf(ttl))
	return n, nil
}

// End processes the result of an automatic extension.
func (n *renewal) End(res round.Result) error { return n.end(context.Background(), res) }

// end processes the result of the extension, and returns its error.
func (n *renewal) end(ctx context.Context, res round.Result) error {
	h, c := n.hold, &n.call
	noted := false
	defer func() {
		if !noted && res.Verdict == round.Gone { // a hook has panicked, and the lock is lost all the same
			h.lease.End(c.failed(ctx, res))
		}
	}()
	c.note(ctx, res)
	noted = true
	var err error
	if res.Verdict == round.Won {
		if h.lease.Extended(n.until, res.Votes) {
			h.logRejoins(res.Votes)
		}
		err = h.ended("extend")
	} else {
		err = c.failed(ctx, res)
		h.lease.Unextended(err)
		if h.lease.Released() { // meanwhile
			err = h.ended("extend")
		}
	}
	if res.Verdict == round.Gone {
		h.lease.End(err)
	}
	c.tell(h.locker.settings.hooks.Extended, err)
	return err
}

// logRejoins logs which nodes have granted the lock again.
func (h *hold) logRejoins(votes []round.Vote) {
	for i, v := range votes {
		if v.Rejoined {
			_, name := h.locker.group.Node(i)
			h.locker.settings.Logger.Debug("redlock: a node that had lost the lock has it again",
				"key", text.Name(h.fullKey()), "node", text.Name(name))
		}
	}
}
