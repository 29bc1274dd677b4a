package round

import (
	"sync"
	"time"
)

// A Deadline is a bell with the time limit of a caller that waits for one verdict. It is
// reused. From Begin to End it belongs to the waiting goroutine. Before End, that
// goroutine removes the bell from its round, under the mutex of the attempt, so that a
// late vote does not reach the next owner.
type Deadline struct {
	Bell

	// The mutex of the Deadlines guards these.
	due        time.Time
	in         *deadlineList // nil: the time is over
	prev, next *Deadline
}

// A deadlineList is the deadlines of callers that wait equally long, the earliest first.
type deadlineList struct {
	wait        time.Duration
	first, last *Deadline
}

// maxDeadlineLists is how many different waiting times get their own list. Further ones
// share the last list, where finding the right position takes longer.
const maxDeadlineLists = 32

// A Deadlines is the deadline timer of all callers of a group that wait for a verdict. One
// timer serves them all, because almost every round is decided in time, and setting and
// stopping a timer for each would cost about as much as the rest of the wait. A verdict
// does not stop the timer. So it may fire for nobody; it is then set for the earliest
// remaining deadline, if any.
//
// All callers share the mutex, so nothing under it may take linear time. Callers that
// wait equally long come in the order of their deadlines, and therefore have a list of
// their own.
type Deadlines struct {
	mu    sync.Mutex
	lists []*deadlineList
	timer *time.Timer // nil: never needed so far
	set   time.Time   // when it fires; zero: not set
	spare sync.Pool   // of deadline
}

// Begin returns a deadline that ends when wait has passed since start.
func (v *Deadlines) Begin(start time.Time, wait time.Duration) *Deadline {
	p, ok := v.spare.Get().(*Deadline)
	if !ok {
		p = &Deadline{Bell: NewBell(1)}
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

// list returns the list of callers that wait for the given time.
func (v *Deadlines) list(wait time.Duration) *deadlineList {
	for _, l := range v.lists {
		if l.wait == wait {
			return l
		}
	}
	if n := len(v.lists); n == maxDeadlineLists {
		return v.lists[n-1]
	}
	l := &deadlineList{wait: wait}
	v.lists = append(v.lists, l)
	return l
}

// End takes p back. Nobody else may have it any more.
func (v *Deadlines) End(p *Deadline) {
	v.mu.Lock()
	if p.in != nil {
		p.in.remove(p)
	}
	v.mu.Unlock()
	select {
	case <-p.rung:
	default:
	}
	v.spare.Put(p)
}

// insert inserts p in order. Its position is usually the last one.
func (l *deadlineList) insert(p *Deadline) {
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

func (l *deadlineList) remove(p *Deadline) {
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

// wake makes the timer fire at t.
func (v *Deadlines) wake(t time.Time) {
	v.set = t
	if v.timer == nil {
		v.timer = time.AfterFunc(time.Until(t), v.look)
	} else {
		v.timer.Reset(time.Until(t))
	}
}

// look tells callers whose time is over.
func (v *Deadlines) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	var next time.Time
	for _, l := range v.lists {
		for l.first != nil && !l.first.due.After(now) {
			p := l.first
			l.remove(p)
			p.ring(NoRound) // dropped if it has a verdict already
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
