package redlock

import "sync"

// A register has all leases of a Locker and of those derived from it, for
// [Locker.Shutdown]. It is a list through fields of the leases, so that a lock costs no
// allocation here. A lock that expires unnoticed, and is never unlocked, would stay in
// the list for ever. So the list is searched for such locks when its length has doubled.
//
// Its mutex is locked before that of a lease.
type register struct {
	mu      sync.Mutex
	first   *lease
	size    int
	sweepAt int
	shut    bool
	working int           // the number of functions that run under a lock
	idle    chan struct{} // closed when working falls to 0; nil if nobody waits for that
}

// minSweep is the number of leases that is not worth a search.
const minSweep = 64

// An entry is the place of a lease in the register. The register's mutex guards it.
type entry struct {
	prev, next *lease
	listed     bool
	working    int // the number of functions of Do that run under it
}

// add adds l, and reports whether it did. It does not after a Shutdown.
func (h *register) add(l *lease) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return false
	}
	if h.size >= max(h.sweepAt, minSweep) {
		for old := h.first; old != nil; {
			next := old.entry.next
			if old.entry.working == 0 && old.past() {
				h.unlink(old)
			}
			old = next
		}
		h.sweepAt = 2 * h.size
	}
	l.entry.listed, l.entry.next = true, h.first
	if h.first != nil {
		h.first.entry.prev = l
	}
	h.first = l
	h.size++
	return true
}

// remove removes l, if it is there.
func (h *register) remove(l *lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.entry.listed {
		h.unlink(l)
	}
}

func (h *register) unlink(l *lease) {
	place := &l.entry
	if place.prev == nil {
		h.first = place.next
	} else {
		place.prev.entry.next = place.next
	}
	if place.next != nil {
		place.next.entry.prev = place.prev
	}
	place.prev, place.next, place.listed = nil, nil, false
	h.size--
}

// begin records that a function is about to run under l, and reports whether it may.
func (h *register) begin(l *lease) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return false
	}
	h.working++
	l.entry.working++
	return true
}

// finish records that a function that ran under l has ended, and that the lock is
// unlocked.
func (h *register) finish(l *lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.working--
	l.entry.working--
	if h.working == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// shutDown makes add and begin fail from now on. It returns the leases under which no
// function runs, and those under which functions run.
func (h *register) shutDown() (free, busy []*lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut = true
	for l := h.first; l != nil; l = l.entry.next {
		if l.entry.working > 0 {
			busy = append(busy, l)
		} else {
			free = append(free, l)
		}
	}
	return free, busy
}

// done returns a channel that is closed when no function runs under a lock.
func (h *register) done() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	if h.working == 0 {
		close(h.idle)
		h.idle = nil
	}
	return idle
}

// busy counts the functions that run under a lock.
func (h *register) busy() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.working
}
