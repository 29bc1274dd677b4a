package quorum

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/limit"
)

// linger is how long the inbox stays open after the last wait.
const linger = 5 * time.Second

// A localQueue is the callers of this process that wait for one key, in the order in which
// they came. The first one competes with other processes, with the one ticket that the
// process has. Readers have a local queue and a ticket of their own. The mutex of
// localQueues guards it.
//
// A localQueue exists while somebody waits in it, or holds a lock acquired in it. This tells
// two kinds of notifications apart: one for a key that nobody here wants, which is passed
// on, and one for a holder, whose release settles it. Local queues that only have holders,
// which may have forgotten to unlock, are removed when space is needed.
type localQueue struct {
	group   *Group
	key     string             // the lock, the name of its permits, or the key of the set of its readers
	shared  bool               // its callers only read
	inbox   *inbox             // where its waiters are notified; nil: nowhere
	waiters []*waiter          // the first one competes; nil: it has left from the middle
	gaps    int                // how many waiters are nil; the first never is
	base    int                // place number of the first waiter
	holders []*attempt.Attempt // won in this queue, and neither released, nor known to be lost, nor readers by now
	expires time.Time          // when the last holder's lease ends, unless it is extended
	places  []place            // by node
	debts   []*attempt.Attempt // at most one for each slot; see owe
}

// A place is the state of a local queue's ticket on one node.
type place struct {
	queued bool             // the ticket may be in the queue there, or its waiter notified
	newest *attempt.Attempt // the last attempt that sent an acquire there with the ticket
}

// localQueues is all local queues of a group, and the inbox for their notifications.
type localQueues struct {
	mu      sync.Mutex
	byKey   map[string]*localQueue
	sweepAt int // number of queues at which old ones are removed
	waiting int // callers in all queues
	inbox   *inbox
	shares  bool        // there was a local queue of readers
	closed  bool        // no other inbox will be opened
	idle    *time.Timer // closes the inbox
}

// join enters the local queue for key, and returns when the caller is its first. It
// returns ctx's error if ctx ends first, or limit.ErrAway if left says that no time is left.
// left, which may be nil, also becomes that of the waiter. asked is when the caller began
// to want the key; the nodes order waiters by it. The waiter must leave in the end.
func (g *Group) join(ctx context.Context, key string, asked time.Time, left func() time.Duration) (*waiter, error) {
	w := &waiter{
		asked: asked, left: left, turn: make(chan struct{}), wake: make(chan struct{}, 1), notices: make([]bool, len(g.Members)),
	}
	ls := &g.locals
	ls.mu.Lock()
	in := ls.openInbox(g, key)
	q := ls.byKey[key]
	if q == nil {
		q = g.newLocalQueue(key, in)
		ls.shares = ls.shares || q.shared
		ls.add(q)
	}
	w.local = q
	ls.waiting++
	q.push(w)
	if q.waiters[0] == w {
		close(w.turn)
	}
	ls.mu.Unlock()
	select {
	case <-w.turn: // the common case, which needs no timer
		return w, nil
	default:
	}
	if err := w.stand(ctx); err != nil {
		w.leave()
		return nil, err
	}
	return w, nil
}

// stand waits until w is the first in its local queue.
func (w *waiter) stand(ctx context.Context) error {
	timer := time.NewTimer(max(w.patience(), 0))
	defer timer.Stop()
	for {
		select {
		case <-w.turn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			d := w.patience()
			if d <= 0 {
				return limit.ErrAway
			}
			timer.Reset(d)
		}
	}
}

// add makes q the local queue for its key.
func (ls *localQueues) add(q *localQueue) {
	if ls.byKey == nil {
		ls.byKey = make(map[string]*localQueue)
		ls.sweepAt = 64
	}
	ls.byKey[q.key] = q
	if len(ls.byKey) < ls.sweepAt {
		return
	}
	now := time.Now()
	for key, old := range ls.byKey {
		if old != q && len(old.waiters) == 0 && now.After(old.expires) {
			delete(ls.byKey, key)
		}
	}
	ls.sweepAt = max(64, 2*len(ls.byKey))
}

// leave removes w from the local queue, and lets the next one compete. won is the attempt
// that won for ttl, or nil.
func (q *localQueue) leave(w *waiter, won *attempt.Attempt, ttl time.Duration) {
	ls := &q.group.locals
	if won != nil {
		// The caller may set a better time later.
		won.Lasts(q.group.Config.Clock.At(won.Begun()).Add(ttl))
	}
	ls.mu.Lock()
	first, ok := q.remove(w)
	if !ok {
		ls.mu.Unlock()
		return
	}
	if first && len(q.waiters) > 0 {
		close(q.waiters[0].turn)
	}
	ls.waiting--
	if won != nil && won.Waits() {
		// Earlier holders have lost it, whether they unlock or not. Of several readers, the
		// last one takes what notifies this process.
		q.holders = append(slices.DeleteFunc(q.holders, func(a *attempt.Attempt) bool { return a.Key() == won.Key() }), won)
		if expires := time.Now().Add(ttl); expires.After(q.expires) {
			q.expires = expires
		}
	}
	rest := q.bequeath(w, won)
	left := ls.settle(q)
	if ls.waiting == 0 && ls.idle != nil {
		ls.idle.Reset(linger)
	}
	ls.mu.Unlock()
	q.passOn(rest)
	leaveQueues(left)
}

// waits reports whether somebody waits. q may be nil.
func (q *localQueue) waits() bool { return q != nil && len(q.waiters) > 0 }

// holder returns the attempt that holds key, the lock or a slot, after having waited, or
// nil. q may be nil.
func (q *localQueue) holder(key string) *attempt.Attempt {
	if q == nil {
		return nil
	}
	for _, a := range q.holders {
		if a.Key() == key {
			return a
		}
	}
	return nil
}

// push adds w behind the other waiters.
func (q *localQueue) push(w *waiter) {
	w.place = q.base + len(q.waiters)
	q.waiters = append(q.waiters, w)
}

// remove removes w from the waiters. It reports whether w was the first, and whether it
// was there at all. It takes constant time on average, because all callers of one key may
// be cancelled at once while other keys need the mutex.
func (q *localQueue) remove(w *waiter) (first, ok bool) {
	i := w.place - q.base
	if i < 0 || i >= len(q.waiters) || q.waiters[i] != w {
		return false, false
	}
	q.waiters[i] = nil
	q.gaps++
	for len(q.waiters) > 0 && q.waiters[0] == nil {
		q.waiters = q.waiters[1:]
		q.base++
		q.gaps--
	}
	if 2*q.gaps > len(q.waiters) {
		q.compact()
	}
	return i == 0, true
}

// compact closes the gaps that leaving waiters left.
func (q *localQueue) compact() {
	old := q.waiters
	q.waiters = make([]*waiter, 0, len(old)-q.gaps)
	q.gaps = 0
	for _, w := range old {
		if w != nil {
			q.push(w)
		}
	}
}

// Release notes that a is being released. A caller of this process that polls for the key
// need not wait for its next look, because its operations are sent after the release.
func (ls *localQueues) Release(a *attempt.Attempt) {
	ls.mu.Lock()
	if len(ls.byKey) == 0 { // the usual case
		ls.mu.Unlock()
		return
	}
	left := ls.dismiss(a)
	for local := range ls.localNames(a.Name()) {
		if q := ls.byKey[local]; q.waits() && q.waiters[0].polls {
			q.waiters[0].signal(func(w *waiter) { w.stirred = true })
		}
	}
	ls.mu.Unlock()
	leaveQueues(left)
}

// Dismiss notes that the lease of a has ended, or that it has become a reader. If this ends its
// local queue, the ticket is removed from the nodes' queues, except where a lost a may still
// have its token: Release deletes both there.
func (ls *localQueues) Dismiss(a *attempt.Attempt) {
	ls.mu.Lock()
	left := ls.dismiss(a)
	ls.mu.Unlock()
	for i, newest := range left {
		if newest == a && !a.MayLeave(i) {
			left[i] = nil
		}
	}
	leaveQueues(left)
}

// dismiss removes a from the holders of its local queue, and settles the queue if a was
// one.
func (ls *localQueues) dismiss(a *attempt.Attempt) (left []*attempt.Attempt) {
	q := ls.byKey[a.LocalName()]
	if q == nil {
		return nil
	}
	i := slices.Index(q.holders, a) // there is at most one for each slot
	if i < 0 {
		return nil
	}
	q.holders = slices.Delete(q.holders, i, i+1)
	return ls.settle(q)
}

// settle ends a local queue that is no longer needed. It returns, for each node, the
// attempt that must remove the ticket from the node's queue if it is there, or nil if the
// ticket was never sent.
func (ls *localQueues) settle(q *localQueue) []*attempt.Attempt {
	if len(q.waiters) > 0 || len(q.holders) > 0 || ls.byKey[q.key] != q {
		return nil
	}
	delete(ls.byKey, q.key)
	left := make([]*attempt.Attempt, len(q.places))
	for i, p := range q.places {
		left[i] = p.newest // its node state may still put the ticket there, so it decides
	}
	return left
}

// leaveQueues removes the ticket from the nodes' queues. left comes from settle.
func leaveQueues(left []*attempt.Attempt) {
	for i, a := range left {
		if a != nil {
			a.LeaveQueue(i)
		}
	}
}

// Ticket returns the ticket, or "" if there is none. It does not change.
func (q *localQueue) Ticket() string {
	switch {
	case q.inbox == nil:
		return ""
	case q.shared:
		return q.inbox.reader
	}
	return q.inbox.ticket
}

// Hears reports whether notifications of node i reach the process.
func (q *localQueue) Hears(i int) bool { return q.inbox != nil && q.inbox.Hears(i) }

// Enters notes that an acquire of a with the ticket is about to be sent to node i.
func (q *localQueue) Enters(i int, a *attempt.Attempt) {
	ls := &q.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	q.places[i] = place{queued: true, newest: a}
}

// IsNewest reports whether a is the newest attempt that has asked node i. Only the newest
// may change the ticket there; an older one would remove or restore the newer one's
// entry.
func (q *localQueue) IsNewest(i int, a *attempt.Attempt) bool {
	ls := &q.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.isNewest(q, i, a)
}

func (ls *localQueues) isNewest(q *localQueue, i int, a *attempt.Attempt) bool {
	now := ls.byKey[q.key] // may be a later queue that never asks any node
	return q.places[i].newest == a && (now == nil || now == q || now.places[i].newest == nil)
}

// Queued reports whether a has to remove the ticket from the queue of node i.
func (q *localQueue) Queued(i int, a *attempt.Attempt) bool {
	ls := &q.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return q.places[i].queued && ls.isNewest(q, i, a)
}

// SetQueued notes whether the ticket may be in the queue of node i, after an answer to a.
func (q *localQueue) SetQueued(i int, a *attempt.Attempt, queued bool) {
	ls := &q.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if q.places[i].newest == a {
		q.places[i].queued = queued
	}
}

// wakeAll wakes all callers that compete. With now they try again at once; otherwise as soon
// as the budget allows, because very many may be woken together.
func (ls *localQueues) wakeAll(now bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, q := range ls.byKey {
		if len(q.waiters) > 0 {
			q.waiters[0].signal(func(w *waiter) {
				w.stirred = w.stirred || now
				w.look = time.Now()
			})
		}
	}
}
