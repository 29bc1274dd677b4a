package redlock

import (
	"context"
	"sync"
	"time"
)

// parking has the locks of a Locker, and of those derived from it, that were unlocked
// before their minimum hold was over. Each has a timer, which deletes the lock on the
// nodes at the end of the minimum hold and so notifies the next waiter. If the timer does
// not run, for example because the process has ended, the key expires. That is never
// before the end of the minimum hold, and at most one TTL after the last extension.
type parking struct {
	mu     sync.Mutex
	closed bool
	timers map[*lease]*time.Timer
}

// add deletes l after d, unless the Locker is closed first.
func (p *parking) add(l *lease, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if p.timers == nil {
		p.timers = make(map[*lease]*time.Timer)
	}
	p.timers[l] = time.AfterFunc(d, func() { p.end(l) })
}

func (p *parking) end(l *lease) {
	p.mu.Lock()
	_, parked := p.timers[l]
	delete(p.timers, l)
	if parked {
		l.attempt.Abandon() // a later Close waits for this
	}
	p.mu.Unlock()
}

// close stops all timers for good.
func (p *parking) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, timer := range p.timers {
		timer.Stop()
	}
	p.timers = nil
}

// park reports whether the minimum hold is not over. If so, it schedules the deletion of
// the lock. It asks no node.
func (l *lease) park() bool {
	l.mu.Lock()
	rest := time.Until(l.least)
	l.mu.Unlock()
	if rest <= 0 {
		return false
	}
	l.locker.parking.add(l, rest)
	return true
}

// parked is what Unlock does instead of a release if the lock stays on the nodes. It
// returns how the lock was lost before, if it was.
func (l *lease) parked(ctx context.Context, c *call) error {
	l.mu.Lock()
	err := l.cause
	l.mu.Unlock()
	if wasReleased(err) {
		err = nil
	}
	c.tellHeld(ctx, l.locker.settings.hooks.Unlocked, l.heldFor(), err)
	return err
}

// keep returns ttl, or longer if the minimum hold needs it. A node that has lost the lock
// and gets it back from an extension must keep it as long as the others.
func (l *lease) keep(ttl time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.least.IsZero() {
		return ttl
	}
	return max(ttl, l.locker.settings.outlasting(time.Until(l.least)))
}

// outlasting returns a TTL that does not end before d is over, even if a node's clock is
// fast.
func (s *settings) outlasting(d time.Duration) time.Duration {
	return (d + s.driftOf(d) + time.Millisecond).Truncate(time.Millisecond)
}

// lease returns the TTL with which a call acquires: that of [WithTTL], or longer if
// [WithMinHold] needs it.
func (s *settings) lease(c callSettings) time.Duration {
	if c.minHold == 0 {
		return c.ttl
	}
	return max(c.ttl, s.outlasting(c.minHold))
}
