package waiting

import (
	"slices"
	"sync"
	"time"
)

// A hold is the time for which a client certainly had a lock: from when the call returned until
// the client began to end it, or its validity ended.
type hold struct {
	client   string
	slot     string // of a permit
	reads    bool   // the lock is a shared one
	from, to time.Time
}

// A history is what clients did with one key.
type history struct {
	mu    sync.Mutex
	holds []hold
	waits []span // of all clients, for permits
}

func (h *history) add(x hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds = append(h.holds, x)
}

// waited records that a client has waited since from.
func (h *history) waited(from, to time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = append(h.waits, span{from, to})
}

// A change is the begin or the end of a hold.
type change struct {
	hold
	at     time.Time
	begins bool
}

// changes returns the begins and ends of holds in their order. At the same time, ends come
// first. Holds that were over at once are left out.
func changes(holds []hold) []change {
	var list []change
	for _, h := range holds {
		if h.to.After(h.from) {
			list = append(list, change{h, h.to, false}, change{h, h.from, true})
		}
	}
	slices.SortStableFunc(list, func(a, b change) int {
		switch c := a.at.Compare(b.at); {
		case c != 0 || a.begins == b.begins:
			return c
		case a.begins:
			return 1
		}
		return -1
	})
	return list
}
