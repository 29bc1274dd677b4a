package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/lease"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A hold is a lease and what its Locker knows of it. One or several handles ([Lock]) share
// it.
type hold struct {
	lease   lease.Lease
	locker  *Locker
	ttl     time.Duration
	fencing bool
	slots   *quorum.Slots   // of a permit that was acquired here, otherwise nil
	ctx     context.Context // for hooks, with the values of the acquiring call's ctx; nil without hooks
	first   Lock            // the handle of the caller that acquired it
}

// newHold returns what the call holds. The caller that acquired it gets the first handle.
// newHold returns nil after a Shutdown.
func newHold(ctx context.Context, c *call, held quorum.Held) *hold {
	s := &c.settings
	h := &hold{locker: c.locker, ttl: s.ttl, fencing: s.fencing, slots: c.slots}
	if c.locker.settings.hooks.outliveCalls() {
		h.ctx = context.WithoutCancel(ctx)
	}
	var least mono.Time
	if s.minHold > 0 {
		least = mono.Of(held.Begun.Time()).Add(s.minHold)
	}
	h.first.hold = h
	if !c.locker.keeper.Begin(&h.lease, &h.first.handle, (*owner)(h), &c.locker.settings.Rules, lease.Terms{
		Attempt: held.Attempt, Since: held.Since, Until: held.Until, Least: least, Votes: c.last.Votes,
		Extends: s.autoExtend, ExtendsLimited: s.maxHold > 0, Shared: c.shared,
	}) {
		return nil
	}
	return h
}

// fullKey returns the key as it is on the servers, with the prefix.
func (h *hold) fullKey() string { return h.lease.Attempt().Key() }

// key returns the key without the prefix.
func (h *hold) key() string { return h.fullKey()[len(h.locker.settings.prefix):] }

// callSettings returns the settings of calls about the lock. Both it and newCall are
// inlined, so that the call of an Unlock needs no allocation.
func (h *hold) callSettings() callSettings { return callSettings{ttl: h.ttl, fencing: h.fencing} }

// report returns what each node did in the last round that succeeded.
func (h *hold) report() Report { return newReport(h.locker.group, h.lease.Votes()) }

// startExtending starts the extensions of [WithAutoExtend], if s has that.
func (h *hold) startExtending(s callSettings) {
	if s.autoExtend {
		h.lease.StartExtending(s.ttl, s.maxHold)
	}
}

// keepExtending makes the lock extend itself if s has [WithAutoExtend], unless it already
// does.
func (h *hold) keepExtending(s callSettings) {
	if s.autoExtend {
		h.lease.KeepExtending(s.ttl, s.maxHold)
	}
}

// lasts reports whether the lock is valid for at least as long as one with these
// settings, or extends itself. Extending itself is not enough for a minimum hold, because
// it ends with the process.
func (h *hold) lasts(s callSettings) bool {
	return h.lease.Lasts(h.locker.settings.lease(s)) || s.minHold == 0 && h.lease.ExtendsForever()
}

// notHeld returns nil if cause is nil. Otherwise the lock has ended because of cause, and
// notHeld returns the error of op, such as extend or check. It matches ErrNotHeld.
func (h *hold) notHeld(op string, cause error) error {
	switch cause {
	case ErrReleased:
		return fmt.Errorf("redlock: %s %s: %w: it was unlocked", op, text.Quote(h.fullKey()), ErrNotHeld)
	case ErrClosed:
		return fmt.Errorf("redlock: %s %s: %w: Shutdown has released it", op, text.Quote(h.fullKey()), ErrNotHeld)
	}
	return cause
}

// ended is notHeld with the reason why the lock has ended, if it has.
func (h *hold) ended(op string) error { return h.notHeld(op, h.lease.Err()) }

// parked is what Unlock does instead of a release if the lock stays on the nodes. It
// returns how the lock was lost before, if it was.
func (h *hold) parked(c *call) error {
	err := h.lease.Lost()
	c.tellHeld(h.locker.settings.hooks.Unlocked, h.lease.HeldFor(), err)
	return err
}

// owner is a hold as the owner of its lease.
type owner hold

// Renew begins the call of an automatic extension.
func (o *owner) Renew(ttl time.Duration) (lease.Renewal, bool) {
	ctx := o.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	n, err := (*hold)(o).renew(ctx, ttl, true)
	if err != nil {
		return nil, false
	}
	return n, true
}

// Expired returns the error of a lock whose validity is over.
func (o *owner) Expired(until time.Time, failure error) error {
	why := ""
	if failure != nil {
		why = fmt.Sprintf("; the last extension failed: %v", failure)
	}
	return fmt.Errorf("redlock: lock %s: %w: its validity ended at %v%s",
		text.Quote((*hold)(o).fullKey()), ErrNotHeld, until.Format(time.RFC3339Nano), why)
}

// Lost logs that the lock was lost, and calls the hook.
func (o *owner) Lost(held time.Duration, cause error) {
	h, s := (*hold)(o), &o.locker.settings
	s.Logger.Error("redlock: lock lost", "key", text.Name(h.fullKey()), "held", held, "error", cause)
	if hook := s.hooks.Lost; hook != nil {
		hook(h.ctx, Event{Key: h.fullKey(), Shared: h.lease.Shared(), Held: held, Report: h.report(), Err: cause})
	}
}

// ShutDown calls the hooks of an unlock.
func (o *owner) ShutDown(ctx context.Context) {
	h := (*hold)(o)
	h.tellReleased(ctx, h.locker.newCall("unlock", h.key(), h.callSettings()))
}

// tellReleased calls the hooks of c, an unlock whose deletions go on in the background.
func (h *hold) tellReleased(ctx context.Context, c *call) {
	c.shared = h.lease.Shared()
	c.begin(ctx)
	c.tellHeld(h.locker.settings.hooks.Unlocked, h.lease.HeldFor(), nil)
}
