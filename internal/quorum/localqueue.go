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

// A localQueue is a local queue: the callers of this process that wait for one key, in the
// order in which they came. The first one competes with other processes, with the one
// ticket that the process has. Readers have a local queue of their own, and a ticket of
// their own. The mutex of localQueues guards it.
//
// A localQueue exists while somebody waits in it, or holds a lock acquired in it. This tells
// two kinds of notifications apart: one for a key that nobody here wants, which is passed
// on, and one for a holder, whose release settles it. Lines that only have holders, which
// may have forgotten to unlock, are removed when space is needed.
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
	ln := ls.byKey[key]
	if ln == nil {
		ln = g.newLine(key, in)
		ls.shares = ls.shares || ln.shared
		ls.add(ln)
	}
	w.local = ln
	ls.waiting++
	ln.push(w)
	if ln.waiters[0] == w {
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

// add makes ln the local queue for its key.
func (ls *localQueues) add(ln *localQueue) {
	if ls.byKey == nil {
		ls.byKey = make(map[string]*localQueue)
		ls.sweepAt = 64
	}
	ls.byKey[ln.key] = ln
	if len(ls.byKey) < ls.sweepAt {
		return
	}
	now := time.Now()
	for key, old := range ls.byKey {
		if old != ln && len(old.waiters) == 0 && now.After(old.expires) {
			delete(ls.byKey, key)
		}
	}
	ls.sweepAt = max(64, 2*len(ls.byKey))
}

// leave removes w from the local queue, and lets the next one compete. won is the attempt
// that won for ttl, or nil.
func (ln *localQueue) leave(w *waiter, won *attempt.Attempt, ttl time.Duration) {
	ls := &ln.group.locals
	if won != nil {
		// The caller may set a better time later.
		won.Lasts(ln.group.Config.Clock.At(won.Begun()).Add(ttl))
	}
	ls.mu.Lock()
	first, ok := ln.remove(w)
	if !ok {
		ls.mu.Unlock()
		return
	}
	if first && len(ln.waiters) > 0 {
		close(ln.waiters[0].turn)
	}
	ls.waiting--
	if won != nil && won.Waits() {
		// Earlier holders have lost it, whether they unlock or not. Of several readers, the
		// last one takes what notifies this process.
		ln.holders = append(slices.DeleteFunc(ln.holders, func(a *attempt.Attempt) bool { return a.Key() == won.Key() }), won)
		if expires := time.Now().Add(ttl); expires.After(ln.expires) {
			ln.expires = expires
		}
	}
	rest := ln.bequeath(w, won)
	left := ls.settle(ln)
	if ls.waiting == 0 && ls.idle != nil {
		ls.idle.Reset(linger)
	}
	ls.mu.Unlock()
	ln.passOn(rest)
	leaveQueues(left)
}

// waits reports whether somebody waits. ln may be nil.
func (ln *localQueue) waits() bool { return ln != nil && len(ln.waiters) > 0 }

// holder returns the attempt that holds key, the lock or a slot, after having waited, or
// nil. ln may be nil.
func (ln *localQueue) holder(key string) *attempt.Attempt {
	if ln == nil {
		return nil
	}
	for _, a := range ln.holders {
		if a.Key() == key {
			return a
		}
	}
	return nil
}

// push adds w behind the other waiters.
func (ln *localQueue) push(w *waiter) {
	w.place = ln.base + len(ln.waiters)
	ln.waiters = append(ln.waiters, w)
}

// remove removes w from the waiters. It reports whether w was the first, and whether it
// was there at all. It takes constant time on average, because all callers of one key may
// be cancelled at once while other keys need the mutex.
func (ln *localQueue) remove(w *waiter) (first, ok bool) {
	i := w.place - ln.base
	if i < 0 || i >= len(ln.waiters) || ln.waiters[i] != w {
		return false, false
	}
	ln.waiters[i] = nil
	ln.gaps++
	for len(ln.waiters) > 0 && ln.waiters[0] == nil {
		ln.waiters = ln.waiters[1:]
		ln.base++
		ln.gaps--
	}
	if 2*ln.gaps > len(ln.waiters) {
		ln.compact()
	}
	return i == 0, true
}

// compact closes the gaps that leaving waiters left.
func (ln *localQueue) compact() {
	old := ln.waiters
	ln.waiters = make([]*waiter, 0, len(old)-ln.gaps)
	ln.gaps = 0
	for _, w := range old {
		if w != nil {
			ln.push(w)
		}
	}
}

// Release notes that a is being released. A caller of this process that polls for the key
// need not wait for its next look, because its operations are sent after the release.
func (ls *localQueues) Release(a *attempt.Attempt) {
	ls.mu.Lock()
	left := ls.dismiss(a)
	for line := range ls.lines(a.Name()) {
		if ln := ls.byKey[line]; ln.waits() && ln.waiters[0].polls {
			ln.waiters[0].signal(func(w *waiter) { w.stirred = true })
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
	ln := ls.byKey[a.Line()]
	if ln == nil {
		return nil
	}
	i := slices.Index(ln.holders, a) // there is at most one for each slot
	if i < 0 {
		return nil
	}
	ln.holders = slices.Delete(ln.holders, i, i+1)
	return ls.settle(ln)
}

// settle ends a local queue that is no longer needed. It returns, for each node, the
// attempt that must remove the ticket from the node's queue if it is there, or nil if the
// ticket was never sent.
func (ls *localQueues) settle(ln *localQueue) []*attempt.Attempt {
	if len(ln.waiters) > 0 || len(ln.holders) > 0 || ls.byKey[ln.key] != ln {
		return nil
	}
	delete(ls.byKey, ln.key)
	left := make([]*attempt.Attempt, len(ln.places))
	for i, p := range ln.places {
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
func (ln *localQueue) Ticket() string {
	switch {
	case ln.inbox == nil:
		return ""
	case ln.shared:
		return ln.inbox.reader
	}
	return ln.inbox.ticket
}

// Hears reports whether notifications of node i reach the process.
func (ln *localQueue) Hears(i int) bool { return ln.inbox != nil && ln.inbox.Hears(i) }

// Enters notes that an acquire of a with the ticket is about to be sent to node i.
func (ln *localQueue) Enters(i int, a *attempt.Attempt) {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ln.places[i] = place{queued: true, newest: a}
}

// IsNewest reports whether a is the newest attempt that has asked node i. Only the newest
// may change the ticket there; an older one would remove or restore the newer one's
// entry.
func (ln *localQueue) IsNewest(i int, a *attempt.Attempt) bool {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.isNewest(ln, i, a)
}

func (ls *localQueues) isNewest(ln *localQueue, i int, a *attempt.Attempt) bool {
	now := ls.byKey[ln.key] // may be a later queue that never asks any node
	return ln.places[i].newest == a && (now == nil || now == ln || now.places[i].newest == nil)
}

// Queued reports whether a has to remove the ticket from the queue of node i.
func (ln *localQueue) Queued(i int, a *attempt.Attempt) bool {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ln.places[i].queued && ls.isNewest(ln, i, a)
}

// SetQueued notes whether the ticket may be in the queue of node i, after an answer to a.
func (ln *localQueue) SetQueued(i int, a *attempt.Attempt, queued bool) {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln.places[i].newest == a {
		ln.places[i].queued = queued
	}
}

// openInbox opens the inbox if necessary, and returns it, or nil if there will be none.
func (ls *localQueues) openInbox(g *Group, key string) *inbox {
	if g.inbox == nil || ls.closed {
		return nil
	}
	if ls.idle == nil {
		ls.idle = time.AfterFunc(time.Hour, func() { ls.closeInbox(false) })
	}
	ls.idle.Stop()
	if ls.inbox == nil {
		ls.inbox = newInbox(g, key)
	}
	return ls.inbox
}

func (ls *localQueues) awaited() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.waiting > 0
}

// closeInbox closes the inbox if nobody waits. With forGood it closes the inbox even if
// there are waiters, which poll from then on. Tickets that remain in queues are dead.
func (ls *localQueues) closeInbox(forGood bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.closed = ls.closed || forGood
	if ls.inbox == nil || ls.waiting > 0 && !forGood {
		return
	}
	ls.inbox.Close()
	ls.inbox = nil
	for key, ln := range ls.byKey {
		if len(ln.waiters) == 0 {
			delete(ls.byKey, key)
		}
	}
}

// wakeAll wakes all callers that compete. With now they try again at once; otherwise as soon
// as the budget allows, because very many may be woken together.
func (ls *localQueues) wakeAll(now bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, ln := range ls.byKey {
		if len(ln.waiters) > 0 {
			ln.waiters[0].signal(func(w *waiter) {
				w.stirred = w.stirred || now
				w.look = time.Now()
			})
		}
	}
}
