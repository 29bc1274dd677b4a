package waiting

import (
	"fmt"
	"sync"
	"time"
)

func label(i int) string { return fmt.Sprintf("c%d", i) }

// A log is what clients say of one lock, on one clock. From it come the gaps: the
// times in which nobody had the lock and a live client waited for it.
//
// A holder counts as one from when its Lock has returned until it calls Unlock, so
// a gap is longer than what passes on the servers.
type log struct {
	mu      sync.Mutex
	state   map[*client]*condition
	holders int
	waiting int // live clients that wait
	since   time.Time
	gaps    []gap
	clashes []string // two holders at once
	last    string   // who unlocked last
	noting  bool     // gaps
}

// condition is how a client is.
type condition struct {
	waits, dead, holds bool
	faults             []fault // that have befallen it
}

// A fault is what befell a client, and when.
type fault struct {
	what     string
	from, to time.Time // to is zero as long as it lasts
}

// A gap is a time in which nobody had the lock and a live client waited.
type gap struct {
	from, to time.Time
	unlocked string // who had it before
	locked   string // who had it then; empty if nobody waited any more
}

func (g gap) length() time.Duration { return g.to.Sub(g.from) }

func newLog() *log { return &log{state: map[*client]*condition{}} }

func (l *log) waits(c *client) {
	l.change(c, "", func(s *condition) { s.waits = true })
}

func (l *log) leaves(c *client) {
	l.change(c, "", func(s *condition) { s.waits = false })
}

func (l *log) holds(c *client) {
	l.change(c, c.label, func(s *condition) {
		if l.holders > 0 {
			l.clashes = append(l.clashes, fmt.Sprintf("%s has it beside another, after %s", c.label, l.last))
		}
		l.holders++
		s.waits, s.holds = false, true
	})
}

func (l *log) releases(c *client) {
	l.change(c, "", func(s *condition) {
		l.holders--
		l.last = c.label
		s.holds = false
	})
}

// befalls notes a fault; one that lasts until [log.passes] takes the client away
// from those that live, unless it only slows it down.
func (l *log) befalls(c *client, what string, lives bool) {
	l.change(c, "", func(s *condition) {
		s.faults = append(s.faults, fault{what: what, from: time.Now()})
		s.dead = !lives
	})
}

// passes notes that the last fault of the client is over.
func (l *log) passes(c *client) {
	l.change(c, "", func(s *condition) {
		s.faults[len(s.faults)-1].to = time.Now()
		s.dead = false
	})
}

// change changes the condition of c, and notes when a gap begins or ends with it.
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

// waitsUnharmed reports whether c waits and nothing has befallen it at present.
func (l *log) waitsUnharmed(c *client) bool {
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

// faultOf returns what befell the client of that label at some moment between from
// and to, or shortly before: what it had under way takes until the node timeout to
// come to an end.
func (l *log) faultOf(label string, from, to time.Time) (what string) {
	const shortly = 300 * time.Millisecond
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, s := range l.state {
		if c.label != label {
			continue
		}
		for _, f := range s.faults {
			if f.from.Before(to) && (f.to.IsZero() || f.to.Add(shortly).After(from)) {
				what = f.what
			}
		}
	}
	return what
}
