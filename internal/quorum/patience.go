package quorum

import (
	"sync"
	"time"
)

// A patience is what it takes to wait for a verdict until some time. It is used again and
// again.
type patience struct {
	news chan int // has room for one: the place of the round that is decided, or late

	// Guarded by the mutex of the vigil.
	due        time.Time
	prev, next *patience
}

// late is what comes when the time is over.
const late = -1

// A vigil is all who wait for a verdict of a group, in the order in which their patience
// ends. One timer serves them all, since next to nobody's ends: to set and stop a timer for
// each would cost about as much as the rest of waiting. Who hears of a verdict leaves it set,
// so it may go off for nobody; then it is set for the first of those who wait by now, if any.
type vigil struct {
	mu          sync.Mutex
	first, last *patience
	timer       *time.Timer // nil: none was needed so far
	set         time.Time   // when it goes off; zero: it is not set
	spare       sync.Pool   // of patience
}

// begin returns a patience that ends at due, which is most often later than all others.
func (v *vigil) begin(due time.Time) *patience {
	p, ok := v.spare.Get().(*patience)
	if !ok {
		p = &patience{news: make(chan int, 1)}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p.due = due
	before := v.last
	for before != nil && before.due.After(due) {
		before = before.prev
	}
	v.insert(p, before)
	if v.set.IsZero() || due.Before(v.set) {
		v.wake(due)
	}
	return p
}

// end takes p back, which nobody else may know any more.
func (v *vigil) end(p *patience) {
	v.mu.Lock()
	v.remove(p)
	v.mu.Unlock()
	select {
	case <-p.news:
	default:
	}
	v.spare.Put(p)
}

// insert puts p after before, nil to be the first.
func (v *vigil) insert(p, before *patience) {
	p.prev = before
	if before == nil {
		p.next, v.first = v.first, p
	} else {
		p.next, before.next = before.next, p
	}
	if p.next == nil {
		v.last = p
	} else {
		p.next.prev = p
	}
}

// remove takes p out, if it is in.
func (v *vigil) remove(p *patience) {
	if p.prev == nil && v.first != p {
		return
	}
	if p.prev == nil {
		v.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		v.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
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
	for p := v.first; p != nil && !p.due.After(now); p = v.first {
		v.remove(p)
		select {
		case p.news <- late:
		default: // it has heard of a verdict
		}
	}
	v.set = time.Time{}
	if v.first != nil {
		v.wake(v.first.due)
	}
}
