package redlock

import "sync"

// A register is all leases of a Locker and those derived from it, for [Locker.Shutdown]. They
// are a list through the leases, so that a lock costs no allocation here.
//
// A lock that expires without anybody noticing, and is never unlocked, would stay in it for
// ever. So the list is looked through when it has doubled.
//
// Its mutex is locked before that of a lease.
type register struct {
	mu      sync.Mutex
	first   *lease
	size    int
	sweepAt int
	shut    bool
	working int           // functions that run under a lock
	idle    chan struct{} // closed when that falls to 0; nil if nobody waits for it
}

// minSweep is how many leases are not worth looking through.
const minSweep = 64

// An entry is the place of a lease in register, and is guarded by their mutex.
type entry struct {
	prev, next *lease
	listed     bool
	working    int // functions of Do that run under it
}

// add adds l, and reports whether it did: not after a Shutdown.
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

// remove takes l out, if it is there.
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

// begin notes that a function begins to run under l, and reports whether it may.
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

// finish notes that a function which ran under l has ended, and is unlocked.
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

// shutDown refuses further leases and functions. It returns the leases under which no
// function runs, and those under which some do.
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
