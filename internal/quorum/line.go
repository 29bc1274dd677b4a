package quorum

import (
	"context"
	"slices"
	"sync"
	"time"
)

// linger is how long the inbox stays open when nobody waits any more.
const linger = 5 * time.Second

// A line is the callers of this process that want one key. The first of them
// competes with other processes, under the one ticket that the process has; the
// others wait behind it, in the order in which they came. It is guarded by the
// mutex of the lines.
//
// A line is there as long as somebody waits in it, or holds what was acquired in
// it: to tell a call that nobody is there to hear, which is to be passed on, from
// one to a holder, whose release will settle it. A line of holders alone, who may
// have forgotten to unlock, goes when there is reason to make room.
type line struct {
	group   *Group
	key     string
	ticket  string
	waiters []*Waiter  // the first competes; nil where one has left from the middle
	gaps    int        // how many of waiters are nil; the first never is
	base    int        // the place of the first
	holders []*Attempt // that won in this line, and are neither released nor known to be lost
	expires time.Time  // when the last of them does, unless it is extended
	places  []place    // by node
}

// A place is where the ticket of a line stands on one node.
type place struct {
	queued bool     // the ticket may be in the queue there, or called
	newest *Attempt // the last whose acquire was sent there with the ticket
}

// lines is all lines of a group, and the inbox in which they are called.
type lines struct {
	mu      sync.Mutex
	byKey   map[string]*line
	sweepAt int // so many lines call for a sweep
	waiting int // in all lines
	inbox   *inbox
	closed  bool        // there will be no other inbox
	idle    *time.Timer // closes the inbox
}

// Contended reports whether callers of this process wait for key, or hold what
// they had to wait for.
func (g *Group) Contended(key string) bool {
	ls := &g.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.byKey[key] != nil
}

// Join takes a place in the line for key, and returns when it is the first, or
// with ctx's error. Asked is when the caller began to want the key, which counts
// on the servers: who asked first is called first. Left, which may be nil, is that of the
// Waiter; if it says that no time is left, Join returns [ErrAway]. The Waiter must be left.
func (g *Group) Join(ctx context.Context, key string, asked time.Time, left func() time.Duration) (*Waiter, error) {
	w := &Waiter{
		asked: asked, left: left, turn: make(chan struct{}), wake: make(chan struct{}, 1), calls: make([]bool, len(g.members)),
	}
	ls := &g.lines
	ls.mu.Lock()
	ticket := ls.openInbox(g, key)
	ln := ls.byKey[key]
	if ln == nil {
		ln = &line{group: g, key: key, ticket: ticket, places: make([]place, len(g.members))}
		ls.add(ln)
	}
	w.line = ln
	ls.waiting++
	ln.push(w)
	if ln.waiters[0] == w {
		close(w.turn)
	}
	ls.mu.Unlock()
	select {
	case <-w.turn: // which needs no timer
		return w, nil
	default:
	}
	if err := w.stand(ctx); err != nil {
		w.Leave()
		return nil, err
	}
	return w, nil
}

// stand waits until w is the first in its line.
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

// add makes ln the line for its key.
func (ls *lines) add(ln *line) {
	if ls.byKey == nil {
		ls.byKey = make(map[string]*line)
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

// leave takes w out of the line, and lets the next one compete. Won is the
// attempt that won, if one did.
func (ln *line) leave(w *Waiter, won *Attempt) {
	ls := &ln.group.lines
	if won != nil {
		won.Lasts(ln.group.cfg.Clock.at(won.acquired.start).Add(won.ttl)) // until told better
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
		ln.holders = append(ln.holders[:0], won) // those before have lost it, whether they unlock or not
		ln.expires = latest(ln.expires, time.Now().Add(won.ttl))
	}
	left := ls.settle(ln)
	if ls.waiting == 0 && ls.idle != nil {
		ls.idle.Reset(linger)
	}
	ls.mu.Unlock()
	ln.quit(left)
}

// push puts w behind the other waiters.
func (ln *line) push(w *Waiter) {
	w.place = ln.base + len(ln.waiters)
	ln.waiters = append(ln.waiters, w)
}

// remove takes w out of the waiters. It reports whether w was the first, and whether
// it was there at all. It takes constant time on average, because all callers of one
// key may be cancelled at once while other keys need the mutex.
func (ln *line) remove(w *Waiter) (first, ok bool) {
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

// compact closes the gaps that waiters have left.
func (ln *line) compact() {
	old := ln.waiters
	ln.waiters = make([]*Waiter, 0, len(old)-ln.gaps)
	ln.gaps = 0
	for _, w := range old {
		if w != nil {
			ln.push(w)
		}
	}
}

// release notes that a is being released. A caller of this process that polls for
// the key need not wait until it would look: what it sends goes after the release.
func (ls *lines) release(a *Attempt) {
	ls.mu.Lock()
	left := ls.dismiss(a)
	if ln := ls.byKey[a.key]; ln != nil && len(ln.waiters) > 0 && ln.waiters[0].polls {
		ln.waiters[0].signal(func(w *Waiter) { w.stirred = true })
	}
	ls.mu.Unlock()
	a.line.quit(left)
}

// lose notes that the lease of a has ended. A line that is not needed any more takes its
// ticket out of the queues, but the token of a stays where it may be.
func (ls *lines) lose(a *Attempt) {
	ls.mu.Lock()
	left := ls.dismiss(a)
	ls.mu.Unlock()
	for i, newest := range left {
		if newest == a && !a.lacks(i) {
			left[i] = nil
		}
	}
	a.line.quit(left)
}

// dismiss takes a out of the holders of its line, if it is one, and settles the line.
func (ls *lines) dismiss(a *Attempt) (left []*Attempt) {
	if a.line == nil {
		return nil
	}
	i := slices.Index(a.line.holders, a) // there is one holder at most
	if i < 0 {
		return nil
	}
	a.line.holders = slices.Delete(a.line.holders, i, i+1)
	return ls.settle(a.line)
}

// settle ends a line that is not needed any more, and returns for each node the
// attempt that has to take the ticket out of the queue there if it is in it, nil
// where none was sent.
func (ls *lines) settle(ln *line) []*Attempt {
	if len(ln.waiters) > 0 || len(ln.holders) > 0 || ls.byKey[ln.key] != ln {
		return nil
	}
	delete(ls.byKey, ln.key)
	left := make([]*Attempt, len(ln.places))
	for i, p := range ln.places {
		left[i] = p.newest // whose seat may yet put it there again, and so decides
	}
	return left
}

// quit takes the ticket out of the queues, as settle says.
func (ln *line) quit(left []*Attempt) {
	for i, a := range left {
		if a != nil {
			a.quit(i)
		}
	}
}

// enters notes that an acquire of a is about to be sent to node i with the
// ticket.
func (ln *line) enters(i int, a *Attempt) {
	ls := &ln.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ln.places[i] = place{queued: true, newest: a}
}

// speaks reports whether a may still touch the ticket on node i: no later attempt
// has asked there. What a takes out of the queue, or puts back, would else be the
// later one's.
func (ln *line) speaks(i int, a *Attempt) bool {
	ls := &ln.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.speaks(ln, i, a)
}

func (ls *lines) speaks(ln *line, i int, a *Attempt) bool {
	now := ls.byKey[ln.key] // a later line, perhaps, which may go without ever asking
	return ln.places[i].newest == a && (now == nil || now == ln || now.places[i].newest == nil)
}

// queued reports whether a has to take the ticket out of the queue of node i.
func (ln *line) queued(i int, a *Attempt) bool {
	ls := &ln.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ln.places[i].queued && ls.speaks(ln, i, a)
}

// stands notes whether the ticket may be in the queue of node i, after an answer
// to a.
func (ln *line) stands(i int, a *Attempt, queued bool) {
	ls := &ln.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln.places[i].newest == a {
		ln.places[i].queued = queued
	}
}

// openInbox makes sure that there is an inbox, and returns the ticket that names
// it, or "" if there is to be none.
func (ls *lines) openInbox(g *Group, key string) string {
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

// awaited reports whether anybody waits.
func (ls *lines) awaited() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.waiting > 0
}

// closeInbox closes the inbox if nobody waits, or for good even if there are
// waiters, which poll from then on. A ticket that is left in a queue is a dead one.
func (ls *lines) closeInbox(forGood bool) {
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

// stir has everybody who competes try again: now if it is the end of the inbox, else as
// soon as the budget lets them, because that concerns many at once.
func (ls *lines) stir(now bool) {
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
