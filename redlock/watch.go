package redlock

import (
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
)

// watchInterval is how often watch compares the two clocks.
const watchInterval = time.Second

// watch ends locks whose validity ended while the machine was suspended. Timers use the
// monotonic clock, which stands still during a suspend on some systems (Linux:
// golang.org/issue/24595). The wall clock does not. So when the two have parted, watch
// checks every lock, and has those that extend themselves extended sooner by the
// difference. A Locker has one such timer, which runs only while there are locks to
// watch.
type watch struct {
	mu    sync.Mutex
	locks map[*Lock]struct{}
	timer *time.Timer
	last  quorum.Instant
}

func (w *watch) add(l *Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.locks == nil {
		w.locks = make(map[*Lock]struct{})
	}
	w.locks[l] = struct{}{}
	if w.timer == nil {
		clock := l.locker.clock
		w.last = clock.Now()
		w.timer = time.AfterFunc(watchInterval, func() { w.look(clock) })
	}
}

func (w *watch) remove(l *Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.locks, l)
	if len(w.locks) == 0 && w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// look compares the clocks.
func (w *watch) look(clock quorum.Clock) {
	w.mu.Lock()
	if w.timer == nil {
		w.mu.Unlock()
		return
	}
	now := clock.Now()
	var locks []*Lock
	gap := w.last.Parted(now)
	if gap > 0 {
		for l := range w.locks {
			locks = append(locks, l)
		}
	}
	w.last = now
	w.timer.Reset(watchInterval)
	w.mu.Unlock()
	for _, l := range locks {
		l.expire() // or sets its timer according to the clock that is ahead
		l.hurry(gap)
	}
}
