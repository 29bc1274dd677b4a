package lease

import (
	"github.com/quorumlock/quorumlock/internal/clock"
)

// A Handle is the share of one caller in a lease. It ends when that caller unlocks it, and
// the last one ends the lease.
type Handle struct {
	lease *Lease

	// Guarded by the lease's mu:
	unlock   unlocking
	left     error // why this handle ended, if other handles remained
	contexts map[*Context]struct{}
}

// unlocking is the state of the first unlock of a handle.
type unlocking struct {
	begun, ended bool
	err          error         // set once it has ended
	done         chan struct{} // closed when it ends; nil if nobody waits for that
}

// Err returns nil while the lease is held and the handle is not unlocked, and then why it
// ended. It ends the lease if its validity is over.
func (h *Handle) Err() error {
	l := h.lease
	l.mu.Lock()
	left := h.left
	l.mu.Unlock()
	if left != nil {
		return left
	}
	return l.Err()
}

// Enter makes other, which is empty, another handle on the lease, unless this one or the
// lease has ended. If the lease is shared and other is not only to read, it returns
// [ErrShared].
func (h *Handle) Enter(other *Handle, toRead bool) error {
	if err := h.Err(); err != nil {
		return err
	}
	l := h.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case h.unlock.begun:
		return l.keeper.Released
	case l.cause != nil:
		return l.cause
	case l.shared && !toRead:
		return ErrShared
	}
	l.handles++
	other.lease = l
	return nil
}

// BeginUnlock begins an unlock of this handle, unless another caller has begun one. begun is
// false for the first caller, who must call EndUnlock. Other callers get true, and a channel
// that is closed when that unlock ends, or nil if it has ended.
func (h *Handle) BeginUnlock() (done <-chan struct{}, begun bool) {
	h.lease.mu.Lock()
	defer h.lease.mu.Unlock()
	u := &h.unlock
	if !u.begun {
		u.begun = true
		return nil, false
	}
	if !u.ended && u.done == nil {
		u.done = make(chan struct{})
	}
	return u.done, true
}

// EndUnlock records the result of the first unlock.
func (h *Handle) EndUnlock(err error) {
	h.lease.mu.Lock()
	defer h.lease.mu.Unlock()
	u := &h.unlock
	u.err, u.ended = err, true
	if u.done != nil {
		close(u.done)
	}
}

// Unlocked returns the result of the first unlock, and whether it has ended.
func (h *Handle) Unlocked() (err error, ended bool) {
	h.lease.mu.Lock()
	defer h.lease.mu.Unlock()
	return h.unlock.err, h.unlock.ended
}

// Leave ends this handle, and the lease with the last handle. If other handles remain, it
// returns how the lease was lost, if it was. The error is Closed if a Shutdown has
// released the lease. The caller must call lost, unless it is nil: see [Lease.Lapse]. Leave
// is called once, after BeginUnlock.
func (h *Handle) Leave(now clock.Instant) (last bool, lost func(), err error) {
	l := h.lease
	lost = l.Lapse(now) // a lease past its validity is lost, not released
	l.mu.Lock()
	l.handles--
	if l.handles == 0 { // for good, because only a handle can make another
		l.mu.Unlock()
		if l.endAt(now.Time(), l.keeper.Released) == l.keeper.Closed {
			return true, lost, l.keeper.Closed
		}
		return true, lost, nil
	}
	err, h.left = l.cause, l.cause
	if err == nil {
		h.left = l.keeper.Released
	}
	contexts := h.endContexts()
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(l.keeper.Released)
	}
	return false, lost, err
}

// Count counts, for tests, the contexts of this handle, the handles on its lease that are
// not unlocked, and those of them that have contexts and are not the first.
func (h *Handle) Count() (contexts, handles, nested int) {
	h.lease.mu.Lock()
	defer h.lease.mu.Unlock()
	return len(h.contexts), int(h.lease.handles), len(h.lease.nested)
}
