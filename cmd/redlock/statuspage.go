package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// page returns the snapshot for people, for a terminal with that many columns (0: no
// limit).
func (s *snapshot) page(columns int) []string {
	if s.list {
		return s.listPage(columns)
	}
	var list []string
	for i := range s.locks {
		if i > 0 {
			list = append(list, "")
		}
		list = append(list, s.locks[i].page(columns)...)
	}
	return list
}

// listPage shows each lock on one line, with its whole key, which is the name of the lock
// for a command without --prefix.
func (s *snapshot) listPage(columns int) []string {
	var list []string
	if len(s.locks) > 0 {
		var t table
		t.add("HOLDER", "LOCK", "STATE", "ENDS IN", "WAITING")
		for i := range s.locks {
			l := &s.locks[i]
			holder := ""
			if l.Fingerprint != "" {
				holder = labelled(l.Owner, l.Fingerprint)
			}
			t.add(holder, text.Name(l.Key), l.State.String(), timeLeft(l.State, l.TTL), waiting(l.Waiting))
		}
		list = append(t.lines(columns), "")
	}
	return append(list, wrap(s.totals().String(), columns, "")...)
}

// totals counts locks by their states.
type totals struct {
	Locks    int `json:"locks"`
	Free     int `json:"free"`
	Held     int `json:"held"`
	Reserved int `json:"reserved"`
	Split    int `json:"split"`
	Unknown  int `json:"unknown"`
	Waiting  int `json:"waiting"`
}

func (s *snapshot) totals() totals {
	t := totals{Locks: len(s.locks)}
	counted := make(map[string]bool) // permits, which have one queue for all slots
	for _, l := range s.locks {
		switch l.State {
		case redlock.StateFree:
			t.Free++
		case redlock.StateHeld, redlock.StateShared:
			t.Held++
		case redlock.StateReserved:
			t.Reserved++
		case redlock.StateSplit:
			t.Split++
		default:
			t.Unknown++
		}
		if name, _, ok := proto.Slot(l.Key); ok && counted[name] {
			continue
		} else if ok {
			counted[name] = true
		}
		t.Waiting += max(l.Waiting, 0)
	}
	return t
}

// String returns the totals without those that are 0.
func (t totals) String() string {
	if t.Locks == 0 {
		return "no locks found"
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{t.Free, "free"}, {t.Held, "held"}, {t.Reserved, "reserved"}, {t.Split, "split"}, {t.Unknown, "unknown"}, {t.Waiting, "waiting"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	noun := "locks"
	if t.Locks == 1 {
		noun = "lock"
	}
	return fmt.Sprintf("%d %s: %s", t.Locks, noun, strings.Join(parts, ", "))
}

// mostShown is the number of waiters that are shown for people.
const mostShown = 10

// page shows one lock.
func (l *lockState) page(columns int) []string {
	list := wrap(fmt.Sprintf("The lock %s is %v.", text.Quote(l.name), l.State), columns, "")
	list = append(list, indent(l.facts().lines(narrower(columns)))...)
	list = append(list, indent(l.views().lines(narrower(columns)))...)
	return append(list, l.permitPage(columns)...)
}

// facts are what the servers say together.
func (l *lockState) facts() table {
	var t table
	for _, c := range l.claims() {
		what := "holder"
		if c.state == redlock.StateReserved {
			what = "reserved for"
		}
		who := labelled(c.owner, c.fingerprint)
		if len(l.Nodes) > 1 {
			who += fmt.Sprintf(" on %d of %d servers", c.servers, len(l.Nodes))
		}
		t.add(who, what)
	}
	t.addReaders(l.Status)
	if ends := timeLeft(l.State, l.TTL); ends != notLasting {
		if l.TTL != backend.NoExpiry && l.State != redlock.StateReserved {
			ends += ", unless it is extended"
		}
		t.add(ends, "ends in")
	}
	if l.fence > 0 {
		t.add(strconv.FormatInt(l.fence, 10), "fencing counter")
	}
	if l.State != redlock.StateUnknown || l.Waiting > 0 {
		t.add(waiting(l.Waiting), "waiting")
	}
	t.addWaiters(l.Status)
	return t
}

// addWaiters adds the first waiters.
func (t *table) addWaiters(s redlock.Status) {
	for i, w := range s.Waiters {
		if i == mostShown {
			t.add(fmt.Sprintf("and %d more", s.Waiting-mostShown), "")
			break
		}
		since := ""
		if w.Waited >= 0 {
			since = " for " + round(w.Waited)
		}
		t.add(labelled(w.Owner, w.Fingerprint)+since, "")
	}
}

// views are what each server says.
func (l *lockState) views() table {
	var t table
	t.add("", "SERVER", "STATE", "HOLDER", "ENDS IN", "WAITING")
	for _, n := range l.Nodes {
		if n.Err != nil {
			t.add(text.Line(complain(n.Err, n.Latency).what), text.Name(n.Node), n.State.String())
			continue
		}
		holder := "-"
		if n.Fingerprint != "" {
			holder = "#" + n.Fingerprint
		}
		t.add("", text.Name(n.Node), n.State.String(), holder, timeLeft(n.State, n.TTL), waiting(n.Waiting))
	}
	return t
}

// notLasting stands for the time left of what does not end by itself.
const notLasting = "-"

// lasts reports whether a lock in that state ends by itself.
func lasts(state redlock.State) bool {
	return state == redlock.StateHeld || state == redlock.StateShared || state == redlock.StateReserved
}

// timeLeft returns how long a lock remains in its state.
func timeLeft(state redlock.State, ttl time.Duration) string {
	switch {
	case !lasts(state):
		return notLasting
	case ttl == backend.NoExpiry:
		return "never"
	}
	return round(ttl)
}

// waiting returns a number of waiters.
func waiting(n int) string {
	if n == redlock.NotKnown {
		return "not known"
	}
	return strconv.Itoa(n)
}

// indent moves lines to the right.
func indent(list []string) []string {
	for i := range list {
		list[i] = gap + list[i]
	}
	return list
}

// narrower returns the columns that are left beside an indent.
func narrower(columns int) int {
	if columns == 0 {
		return 0
	}
	return max(columns-len(gap), 1)
}
