package quorum

import (
	"slices"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// An offer is a notification: a node has reserved a slot for this process.
type offer struct{ node, slot int }

// maxOffers is how many offers for other slots a waiter keeps. Anyone who can publish can
// send any number of them.
const maxOffers = 64

// offer notes that node i has notified w, for a slot if the lock has slots. The local
// queues must be locked.
func (w *waiter) offer(i, slot int) {
	if slot == w.slot {
		w.notices[i] = true
	} else if o := (offer{i, slot}); !slices.Contains(w.offers, o) && len(w.offers) < maxOffers {
		w.offers = append(w.offers, o)
	}
}

// wants reports whether w can use that slot. The local queues must be locked.
func (w *waiter) wants(slot int) bool { return w.slots == nil || w.slots.has(slot) }

// allOffers returns the offers for all slots. The local queues must be locked.
func (w *waiter) allOffers() []offer {
	offers := slices.Clone(w.offers)
	for i, noticed := range w.notices {
		if noticed {
			offers = append(offers, offer{i, w.slot})
		}
	}
	return offers
}

// aim chooses the slot of the next attempt: the one that most nodes offer, otherwise one
// that is likely to be free. It ignores offers of other slots than those of w. Anyone who can
// publish can send them, and more than n would hold the lock.
func (w *waiter) aim() int {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	offers, best := slices.DeleteFunc(w.allOffers(), func(o offer) bool { return !w.slots.has(o.slot) }), 0
	count := make(map[int]int)
	for _, o := range offers {
		if count[o.slot]++; count[o.slot] > count[best] {
			best = o.slot
		}
	}
	for _, slot := range []int{w.want, w.warned} {
		if best == 0 && w.slots.has(slot) {
			best = slot
		}
	}
	if best == 0 {
		best = w.slots.pick()
	}
	w.slot, w.want, w.warned, w.offers = best, 0, 0, nil
	clear(w.notices)
	for _, o := range offers {
		w.offer(o.node, o.slot)
	}
	return best
}

// A legacy is what the last waiter of a local queue leaves to other processes.
type legacy struct {
	offers []offer
	debts  []*attempt.Attempt
}

// bequeath hands the offers of w, which leaves, to the next waiter of the process, which
// makes an attempt. If there is none, it returns what must be passed on to other
// processes. won is the attempt that has won, or nil. The local queues must be locked.
func (q *localQueue) bequeath(w *waiter, won *attempt.Attempt) (l legacy) {
	if !proto.IsPermits(q.key) {
		return l
	}
	offers := w.allOffers()
	if won != nil {
		_, slot, _ := proto.Slot(won.Key())
		offers = slices.DeleteFunc(offers, func(o offer) bool { return o.slot == slot })
		q.pay(won.Key())
	}
	if q.waits() {
		for _, o := range offers {
			q.waiters[0].offer(o.node, o.slot)
		}
		return l
	}
	l = legacy{offers, q.debts}
	q.debts = nil
	return l
}

// passOn passes on what the last waiter has left.
func (q *localQueue) passOn(l legacy) {
	for _, o := range l.offers {
		q.group.pass(o.node, q.key, proto.SlotKey(q.key, o.slot), q.inbox)
	}
	for _, a := range l.debts {
		a.Notify()
	}
}

// owe notes that a, an attempt for a slot, has failed but was granted something. Waiters that
// looked meanwhile may sleep because of it. So this process owes that slot another look
// before it sleeps, or a notification. The notification must not overtake what takes the
// grants of a back, which may still be under way.
func (q *localQueue) owe(a *attempt.Attempt) {
	ls := &q.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	q.pay(a.Key())
	q.debts = append(q.debts, a)
}

// pay forgets the debt for the slot with that key. The local queues must be locked.
func (q *localQueue) pay(key string) {
	q.debts = slices.DeleteFunc(q.debts, func(a *attempt.Attempt) bool { return a.Key() == key })
}

// clearDebts forgets the debts for slots up to n, because others have all of these.
func (q *localQueue) clearDebts(n int) {
	ls := &q.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	q.debts = slices.DeleteFunc(q.debts, func(a *attempt.Attempt) bool {
		_, slot, _ := proto.Slot(a.Key())
		return slot <= n
	})
}
