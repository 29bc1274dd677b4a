package lease

import (
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
)

// WatchInterval is how often a watch compares the two clocks.
const WatchInterval = time.Second

// A watch ends leases whose validity ended while the machine was suspended. Timers use the
// monotonic clock, which stands still during a suspend on some systems (Linux:
// golang.org/issue/24595). The wall clock does not. So when the two have parted, the watch
// checks every lease, and has those that extend themselves extended sooner by the
// difference. A Keeper has one such timer, which runs only while there are leases to
// watch.
type watch struct {
	mu     sync.Mutex
	leases map[*Lease]struct{}
	timer  *time.Timer
	last   clock.Instant
}

func (w *watch) add(l *Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leases == nil {
		w.leases = make(map[*Lease]struct{})
	}
	w.leases[l] = struct{}{}
	if w.timer == nil {
		c := l.keeper.Clock
		w.last = c.Now()
		w.timer = time.AfterFunc(WatchInterval, func() { w.look(c) })
	}
}

func (w *watch) remove(l *Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.leases, l)
	if len(w.leases) == 0 && w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// look compares the clocks.
func (w *watch) look(c *clock.Clock) {
	w.mu.Lock()
	if w.timer == nil {
		w.mu.Unlock()
		return
	}
	now := c.Now()
	var leases []*Lease
	gap := w.last.Parted(now)
	if gap > 0 {
		for l := range w.leases {
			leases = append(leases, l)
		}
	}
	w.last = now
	w.timer.Reset(WatchInterval)
	w.mu.Unlock()
	for _, l := range leases {
		l.expire() // or sets its timer according to the clock that is ahead
		l.hurry(gap)
	}
}
