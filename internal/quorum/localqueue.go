package quorum

import (
	"context"
	"slices"
	"sync"
	"time"
)

// linger is how long the inbox stays open after the last wait.
const linger = 5 * time.Second

// A localQueue is a local queue: the callers of this process that wait for one key, in the
// order in which they came. The first one competes with other processes, with the one
// ticket that the process has. The mutex of localQueues guards it.
//
// A localQueue exists while somebody waits in it, or holds a lock acquired in it. This tells
// two kinds of notifications apart: one for a key that nobody here wants, which is passed
// on, and one for a holder, whose release settles it. Lines that only have holders, which
// may have forgotten to unlock, are removed when space is needed.
type localQueue struct {
	group   *Group
	key     string
	ticket  string
	waiters []*Waiter  // the first one competes; nil: it has left from the middle
	gaps    int        // how many waiters are nil; the first never is
	base    int        // place number of the first waiter
	holders []*Attempt // won in this queue, and neither released nor known to be lost
	expires time.Time  // when the last holder's lease ends, unless it is extended
	places  []place    // by node
}

// A place is the state of a local queue's ticket on one node.
type place struct {
	queued bool     // the ticket may be in the queue there, or its waiter notified
	newest *Attempt // the last attempt that sent an acquire there with the ticket
}

// localQueues is all local queues of a group, and the inbox for their notifications.
type localQueues struct {
	mu      sync.Mutex
	byKey   map[string]*localQueue
	sweepAt int // number of queues at which old ones are removed
	waiting int // callers in all queues
	inbox   *inbox
	closed  bool        // no other inbox will be opened
	idle    *time.Timer // closes the inbox
}

// Contended reports whether callers of this process wait for key, or hold it after having
// waited.
func (g *Group) Contended(key string) bool {
	ls := &g.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.byKey[key] != nil
}

// Join enters the local queue for key, and returns when the caller is its first. It
// returns ctx's error if ctx ends first, or [ErrAway] if left says that no time is left.
// left, which may be nil, also becomes that of the Waiter.
//
// asked is when the caller began to want the key. The nodes order waiters by it. The
// Waiter must be left.
func (g *Group) Join(ctx context.Context, key string, asked time.Time, left func() time.Duration) (*Waiter, error) {
	w := &Waiter{
		asked: asked, left: left, turn: make(chan struct{}), wake: make(chan struct{}, 1), notices: make([]bool, len(g.members)),
	}
	ls := &g.locals
	ls.mu.Lock()
	ticket := ls.openInbox(g, key)
	ln := ls.byKey[key]
	if ln == nil {
		ln = &localQueue{group: g, key: key, ticket: ticket, places: make([]place, len(g.members))}
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
		w.Leave()
		return nil, err
	}
	return w, nil
}

// stand waits until w is the first in its local queue.
func (w *Waiter) stand(ctx context.Context) error {
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
				return ErrAway
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
// that won, or nil.
func (ln *localQueue) leave(w *Waiter, won *Attempt) {
	ls := &ln.group.locals
	if won != nil {
		// The caller may set a better time later.
		won.Lasts(ln.group.cfg.Clock.at(won.acquired.start).Add(won.ttl))
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
	if won != nil && won.inbox != nil {
		ln.holders = append(ln.holders[:0], won) // earlier holders have lost it, whether they unlock or not
		ln.expires = latest(ln.expires, time.Now().Add(won.ttl))
	}
	left := ls.settle(ln)
	if ls.waiting == 0 && ls.idle != nil {
		ls.idle.Reset(linger)
	}
	ls.mu.Unlock()
	ln.leaveQueues(left)
}

// push adds w behind the other waiters.
func (ln *localQueue) push(w *Waiter) {
	w.place = ln.base + len(ln.waiters)
	ln.waiters = append(ln.waiters, w)
}

// remove removes w from the waiters. It reports whether w was the first, and whether it
// was there at all. It takes constant time on average, because all callers of one key may
// be cancelled at once while other keys need the mutex.
func (ln *localQueue) remove(w *Waiter) (first, ok bool) {
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
	ln.waiters = make([]*Waiter, 0, len(old)-ln.gaps)
	ln.gaps = 0
	for _, w := range old {
		if w != nil {
			ln.push(w)
		}
	}
}

// release notes that a is being released. A caller of this process that polls for the key
// need not wait for its next look, because its operations are sent after the release.
func (ls *localQueues) release(a *Attempt) {
	ls.mu.Lock()
	left := ls.dismiss(a)
	if ln := ls.byKey[a.key]; ln != nil && len(ln.waiters) > 0 && ln.waiters[0].polls {
		ln.waiters[0].signal(func(w *Waiter) { w.stirred = true })
	}
	ls.mu.Unlock()
	a.local.leaveQueues(left)
}

// lose notes that the lease of a has ended. If this ends its local queue, the ticket is
// removed from the nodes' queues, except where a may still have its token: Release
// deletes both there.
func (ls *localQueues) lose(a *Attempt) {
	ls.mu.Lock()
	left := ls.dismiss(a)
	ls.mu.Unlock()
	for i, newest := range left {
		if newest == a && !a.lacks(i) {
			left[i] = nil
		}
	}
	a.local.leaveQueues(left)
}

// dismiss removes a from the holders of its local queue, and settles the queue if a was
// one.
func (ls *localQueues) dismiss(a *Attempt) (left []*Attempt) {
	if a.local == nil {
		return nil
	}
	i := slices.Index(a.local.holders, a) // there is at most one holder
	if i < 0 {
		return nil
	}
	a.local.holders = slices.Delete(a.local.holders, i, i+1)
	return ls.settle(a.local)
}

// settle ends a local queue that is no longer needed. It returns, for each node, the
// attempt that must remove the ticket from the node's queue if it is there, or nil if the
// ticket was never sent.
func (ls *localQueues) settle(ln *localQueue) []*Attempt {
	if len(ln.waiters) > 0 || len(ln.holders) > 0 || ls.byKey[ln.key] != ln {
		return nil
	}
	delete(ls.byKey, ln.key)
	left := make([]*Attempt, len(ln.places))
	for i, p := range ln.places {
		left[i] = p.newest // its node state may still put the ticket there, so it decides
	}
	return left
}

// leaveQueues removes the ticket from the nodes' queues. left comes from settle.
func (ln *localQueue) leaveQueues(left []*Attempt) {
	for i, a := range left {
		if a != nil {
			a.leaveQueue(i)
		}
	}
}

// enters notes that an acquire of a with the ticket is about to be sent to node i.
func (ln *localQueue) enters(i int, a *Attempt) {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ln.places[i] = place{queued: true, newest: a}
}

// isNewest reports whether a is the newest attempt that has asked node i. Only the newest
// may change the ticket there; an older one would remove or restore the newer one's
// entry.
func (ln *localQueue) isNewest(i int, a *Attempt) bool {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.isNewest(ln, i, a)
}

func (ls *localQueues) isNewest(ln *localQueue, i int, a *Attempt) bool {
	now := ls.byKey[ln.key] // may be a later queue that never asks any node
	return ln.places[i].newest == a && (now == nil || now == ln || now.places[i].newest == nil)
}

// queued reports whether a has to remove the ticket from the queue of node i.
func (ln *localQueue) queued(i int, a *Attempt) bool {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ln.places[i].queued && ls.isNewest(ln, i, a)
}

// setQueued notes whether the ticket may be in the queue of node i, after an answer to a.
func (ln *localQueue) setQueued(i int, a *Attempt, queued bool) {
	ls := &ln.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln.places[i].newest == a {
		ln.places[i].queued = queued
	}
}

// openInbox opens the inbox if necessary, and returns the ticket that names it, or "" if
// there will be none.
func (ls *localQueues) openInbox(g *Group, key string) string {
	if g.cfg.Inbox == nil || ls.closed {
		return ""
	}
	if ls.idle == nil {
		ls.idle = time.AfterFunc(time.Hour, func() { ls.closeInbox(false) })
	}
	ls.idle.Stop()
	if ls.inbox == nil {
		ls.inbox = newInbox(g, key)
	}
	return ls.inbox.ticket
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
	ls.inbox.close()
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
			ln.waiters[0].signal(func(w *Waiter) {
				w.stirred = w.stirred || now
				w.look = time.Now()
			})
		}
	}
}
