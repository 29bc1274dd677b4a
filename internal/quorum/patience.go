package quorum

import (
	"sync"
	"time"
)

// A patience is what it takes to wait for a verdict until some time. It is used again and
// again. It belongs to the goroutine that waits, from begin to end. Before end, that
// goroutine takes news away from its round, under the mutex of the attempt, so that a late
// vote does not reach the next owner.
type patience struct {
	news chan int // has room for one: the place of the round that is decided, or late

	// Guarded by the mutex of the vigil.
	due        time.Time
	in         *patienceList // nil: it is over
	prev, next *patience
}

// late is what comes when the time is over.
const late = -1

// A patienceList is those whose callers wait for the same time, by when that ends.
type patienceList struct {
	wait        time.Duration
	first, last *patience
}

// maxPatienceLists is how many different times have lists of their own. Further ones share
// the last list, in which it takes longer to find the place of each.
const maxPatienceLists = 32

// A vigil is all who wait for a verdict of a group. One timer serves them all, because
// almost every round is decided before that: to set and stop a timer for each would cost
// about as much as the rest of waiting. A verdict leaves the timer set, so it may go off
// for nobody. Then it is set for the first of those who wait by now, if any.
//
// Everybody shares the mutex, so that nothing may be walked: callers who wait for the
// same time come in the order in which their time ends, and have a list of their own.
type vigil struct {
	mu    sync.Mutex
	lists []*patienceList
	timer *time.Timer // nil: none was needed so far
	set   time.Time   // when it goes off; zero: it is not set
	spare sync.Pool   // of patience
}

// begin returns a patience that ends when that time has passed since start.
func (v *vigil) begin(start time.Time, wait time.Duration) *patience {
	p, ok := v.spare.Get().(*patience)
	if !ok {
		p = &patience{news: make(chan int, 1)}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p.due = start.Add(wait)
	v.list(wait).insert(p)
	if v.set.IsZero() || p.due.Before(v.set) {
		v.wake(p.due)
	}
	return p
}

// list returns the list of those who wait for so long.
func (v *vigil) list(wait time.Duration) *patienceList {
	for _, l := range v.lists {
		if l.wait == wait {
			return l
		}
	}
	if n := len(v.lists); n == maxPatienceLists {
		return v.lists[n-1]
	}
	l := &patienceList{wait: wait}
	v.lists = append(v.lists, l)
	return l
}

// end takes p back, which nobody else may know any more.
func (v *vigil) end(p *patience) {
	v.mu.Lock()
	if p.in != nil {
		p.in.remove(p)
	}
	v.mu.Unlock()
	select {
	case <-p.news:
	default:
	}
	v.spare.Put(p)
}

// insert puts p in its place, which is most often the last one.
func (l *patienceList) insert(p *patience) {
	before := l.last
	for before != nil && before.due.After(p.due) {
		before = before.prev
	}
	p.in, p.prev = l, before
	if before == nil {
		p.next, l.first = l.first, p
	} else {
		p.next, before.next = before.next, p
	}
	if p.next == nil {
		l.last = p
	} else {
		p.next.prev = p
	}
}

func (l *patienceList) remove(p *patience) {
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.in, p.prev, p.next = nil, nil, nil
}

// wake has the timer go off at t.
func (v *vigil) wake(t time.Time) {
	v.set = t
	if v.timer == nil {
		v.timer = time.AfterFunc(time.Until(t), v.look)
	} else {
		v.timer.Reset(time.Until(t))
	}
}

// look tells those whose patience has ended.
func (v *vigil) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	var next time.Time
	for _, l := range v.lists {
		for l.first != nil && !l.first.due.After(now) {
			p := l.first
			l.remove(p)
			select {
			case p.news <- late:
			default: // it has heard of a verdict
			}
		}
		if l.first != nil && (next.IsZero() || l.first.due.Before(next)) {
			next = l.first.due
		}
	}
	v.set = time.Time{}
	if !next.IsZero() {
		v.wake(next)
	}
}
