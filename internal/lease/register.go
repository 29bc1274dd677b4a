package lease

import "sync"

// A register has all leases of a Keeper, for [Keeper.Shutdown]. It is a list through
// fields of the leases, so that a lock costs no allocation here. A lease that expires
// unnoticed, and is never unlocked, would stay in the list for ever. So the list is
// searched for such leases when its length has doubled.
//
// Its mutex is locked before that of a lease.
type register struct {
	mu      sync.Mutex
	first   *Lease
	size    int
	sweepAt int
	shut    bool
	working int           // the number of functions that run under a lease
	idle    chan struct{} // closed when working falls to 0; nil if nobody waits for that
}

// MinSearch is the number of leases that is not worth a search.
const MinSearch = 64

// An entry is the place of a lease in the register. The register's mutex guards it.
type entry struct {
	prev, next *Lease
	listed     bool
	working    int32 // the number of functions that run under it
}

// add adds l, and reports whether it did. It does not after a Shutdown.
func (h *register) add(l *Lease) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return false
	}
	if h.size >= max(h.sweepAt, MinSearch) {
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
func (h *register) remove(l *Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.entry.listed {
		h.unlink(l)
	}
}

func (h *register) unlink(l *Lease) {
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

// begin records that a function is about to run under leases, and reports whether it may.
func (h *register) begin(leases []*Lease) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return false
	}
	h.working++
	for _, l := range leases {
		l.entry.working++
	}
	return true
}

// finish records that a function that ran under leases has ended, and that they
// are unlocked.
func (h *register) finish(leases []*Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.working--
	for _, l := range leases {
		l.entry.working--
	}
	if h.working == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// shutDown makes add and begin fail from now on. It returns the leases under which no
// function runs, and those under which functions run.
func (h *register) shutDown() (free, busy []*Lease) {
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

// done returns a channel that is closed when no function runs under a lease.
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

// busy counts the functions that run under a lease.
func (h *register) busy() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.working
}
