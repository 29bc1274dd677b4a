package waiting

import (
	"fmt"
	"sync"
	"time"
)

func label(i int) string { return fmt.Sprintf("c%d", i) }

// A log records the states of all clients of one lock on one clock. The gaps come from it: the
// times in which no client had the lock and a live client waited for it.
//
// A client counts as the holder from the return of its Lock until it calls Unlock. So a gap is
// longer than the time for which the lock is free on the servers. For a clash, a client holds the
// lock only while it is valid: if the machine stands still for longer, others may get it.
type log struct {
	mu      sync.Mutex
	state   map[*client]*condition
	holders int
	waiting int // live clients that wait
	since   time.Time
	gaps    []gap
	clashes []string // moments with two holders
	last    string   // the last client that unlocked
	noting  bool     // whether gaps are recorded
}

// condition is the state of a client.
type condition struct {
	waits, dead, holds bool
	until              time.Time // the end of the validity, while it holds
	faults             []fault   // faults that hit the client
	gaveUp             []fault   // waits that were cancelled
}

// A fault is what hit a client, and when.
type fault struct {
	what     string
	from, to time.Time // to is zero while the fault lasts
}

// A gap is a time in which no client had the lock and a live client waited for it.
type gap struct {
	from, to time.Time
	unlocked string // the holder before the gap
	locked   string // the holder after it; empty if nobody waited any more
}

func (g gap) length() time.Duration { return g.to.Sub(g.from) }

func newLog() *log { return &log{state: map[*client]*condition{}} }

func (l *log) waits(c *client) {
	l.change(c, "", func(s *condition) { s.waits = true })
}

func (l *log) leaves(c *client) {
	l.change(c, "", func(s *condition) { s.waits = false })
}

func (l *log) holds(c *client, until time.Time) {
	l.change(c, c.label, func(s *condition) {
		now := time.Now()
		if now.Before(until) && l.anyHolds(now) {
			l.clashes = append(l.clashes, fmt.Sprintf("%s has the lock next to another client, after %s", c.label, l.last))
		}
		l.holders++
		s.waits, s.holds, s.until = false, true, until
	})
}

// anyHolds reports whether a client has a lock that is valid at that time.
func (l *log) anyHolds(now time.Time) bool {
	for _, s := range l.state {
		if s.holds && now.Before(s.until) {
			return true
		}
	}
	return false
}

func (l *log) releases(c *client) {
	l.change(c, "", func(s *condition) {
		l.holders--
		l.last = c.label
		s.holds = false
	})
}

// faultBegins records a fault. Until [log.faultEnds], the client does not count as live, unless the
// fault only slows it down.
func (l *log) faultBegins(c *client, what string, lives bool) {
	l.change(c, "", func(s *condition) {
		s.faults = append(s.faults, fault{what: what, from: time.Now()})
		s.dead = !lives
	})
}

// faultEnds records the end of the client's last fault.
func (l *log) faultEnds(c *client) {
	l.change(c, "", func(s *condition) {
		s.faults[len(s.faults)-1].to = time.Now()
		s.dead = false
	})
}

// change changes the condition of c, and records a gap that begins or ends.
func (l *log) change(c *client, locked string, f func(*condition)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state[c]
	if s == nil {
		s = &condition{}
		l.state[c] = s
	}
	l.waiting -= s.live()
	f(s)
	l.waiting += s.live()
	free, now := l.holders == 0 && l.waiting > 0, time.Now()
	switch {
	case free && l.since.IsZero():
		l.since = now
	case !free && !l.since.IsZero():
		if l.noting {
			l.gaps = append(l.gaps, gap{l.since, now, l.last, locked})
		}
		l.since = time.Time{}
	}
}

func (s *condition) live() int {
	if s.waits && !s.dead {
		return 1
	}
	return 0
}

// givesUp records that the client's wait was cancelled.
func (l *log) givesUp(c *client) {
	l.change(c, "", func(s *condition) {
		now := time.Now()
		s.gaveUp = append(s.gaveUp, fault{"cancelled", now, now})
	})
}

// waitsWithoutFault reports whether c waits and no fault affects it now.
func (l *log) waitsWithoutFault(c *client) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state[c]
	return s != nil && s.waits && (len(s.faults) == 0 || !s.faults[len(s.faults)-1].to.IsZero())
}

// during returns the gaps that end while f runs.
func (l *log) during(f func()) []gap {
	l.note(true)
	f()
	return l.note(false)
}

func (l *log) note(gaps bool) []gap {
	l.mu.Lock()
	defer l.mu.Unlock()
	noted := l.gaps
	l.noting, l.since, l.gaps = gaps, time.Time{}, nil
	return noted
}

// faultOf returns the fault of the client with that label between from and to, or shortly before,
// because its operations may go on until the node timeout.
func (l *log) faultOf(label string, from, to time.Time) string {
	const shortly = 300 * time.Millisecond
	return l.find(label, from.Add(-shortly), to, func(s *condition) []fault { return s.faults })
}

// absence is faultOf, but it also counts a wait that was cancelled between from and to.
func (l *log) absence(label string, from, to time.Time) string {
	if what := l.faultOf(label, from, to); what != "" {
		return what
	}
	return l.find(label, from, to, func(s *condition) []fault { return s.gaveUp })
}

// find returns the last fault of the client with that label that lasted between from and to.
func (l *log) find(label string, from, to time.Time, of func(*condition) []fault) (what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, s := range l.state {
		if c.label != label {
			continue
		}
		for _, f := range of(s) {
			if f.from.Before(to) && (f.to.IsZero() || f.to.After(from)) {
				what = f.what
			}
		}
	}
	return what
}
