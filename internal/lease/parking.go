package lease

import (
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/mono"
)

// A parking has the leases of a Keeper that were unlocked before their minimum hold was
// over. Each has a timer, which deletes the lock on the nodes at the end of the minimum
// hold and so notifies the next waiter. If the timer does not run, for example because the
// process has ended, the key expires. That is never before the end of the minimum hold,
// and at most one TTL after the last extension.
type parking struct {
	mu     sync.Mutex
	closed bool
	timers map[*Lease]*time.Timer
}

// add deletes l after d, unless the Keeper is closed first.
func (p *parking) add(l *Lease, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if p.timers == nil {
		p.timers = make(map[*Lease]*time.Timer)
	}
	p.timers[l] = time.AfterFunc(d, func() { p.end(l) })
}

func (p *parking) end(l *Lease) {
	p.mu.Lock()
	_, parked := p.timers[l]
	delete(p.timers, l)
	if parked {
		l.attempt.Abandon() // a later Close of the nodes waits for this
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

// Park reports whether the minimum hold of a lease that has ended is not over. If so, it
// schedules the deletion of the lock, unless the Keeper is closed. It asks no node.
func (l *Lease) Park() bool {
	l.mu.Lock()
	least := l.least
	l.mu.Unlock()
	if least == 0 {
		return false
	}
	rest := time.Until(least.Time())
	if rest <= 0 {
		return false
	}
	l.keeper.parking.add(l, rest)
	return true
}

// HoldUntil keeps the lock on the nodes until least at the earliest.
func (l *Lease) HoldUntil(least time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least = max(l.least, mono.Of(least))
}

// Keep returns ttl, or longer if the minimum hold needs it. A node that has lost the lock
// and gets it back from an extension must keep it as long as the others.
func (l *Lease) Keep(ttl time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.least == 0 {
		return ttl
	}
	return max(ttl, l.rules.Outlasting(time.Until(l.least.Time())))
}
