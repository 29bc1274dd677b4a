package quorum

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/proto"
)

const (
	// minGrace is the minimum time for which a lock is reserved for a notified waiter. A
	// distant waiter asks for longer, so that it is not skipped, but for at most
	// maxGrace, because all others wait if it has died.
	minGrace = proto.MinGrace
	maxGrace = proto.MaxGrace

	// graceTrips is the grace in round trips to the farthest node.
	graceTrips = 4
)

// An inbox is where nodes notify this process, and the tickets that name it: that of callers
// that want a lock for themselves, and that of readers.
type inbox struct {
	*notify.Inbox
	ticket, reader string
}

// newInbox opens an inbox in the background. key is a lock that somebody waits for.
func newInbox(g *Group, key string) *inbox {
	cfg := notify.Config{
		Channel: g.inbox(), Lock: key, Nodes: make([]notify.Node, len(g.Members)),
		Message: g.hear, Missed: func() { g.locals.wakeAll(false) }, Awaited: g.locals.awaited,
	}
	for i, m := range g.Members {
		if m.Queueing.Notifies() {
			cfg.Nodes[i] = notify.Node{Node: m.Node, Away: m.Away, Mute: m.Queueing.Tell}
		}
	}
	grace := min(max(minGrace, graceTrips*g.Farthest()), maxGrace)
	ticket := proto.Ticket{Grace: grace, Channel: cfg.Channel}
	reader := ticket
	reader.Shared = true
	return &inbox{notify.Open(cfg), ticket.String(), reader.String()}
}

// hear handles a message that node i has published.
func (g *Group) hear(i int, payload string) {
	switch m, ok := proto.ParseMessage(payload); {
	case !ok: // the echo of an inbox, or a message of a later release
	case m.Kind == proto.Notify:
		g.notified(i, m.Key)
	case m.Kind == proto.Next:
		g.warned(m.Key, m.Grace)
	}
}

// notified handles a notification from node i. It wakes the caller that competes for key.
// If there is none, but the process has the lock from other nodes, node i is added to the
// lock. Otherwise the notification is passed on.
//
// If both readers and others wait for key here, it may be for either, and wakes both.
//
// A caller cannot use a slot that its lock does not have. If others have more slots, the
// node has taken its ticket out of the queue, so it looks for itself. But it does not do so
// at once, because anyone who can publish can send such a notification.
func (g *Group) notified(i int, key string) {
	name, slot, _ := proto.Slot(key)
	ls := &g.locals
	ls.mu.Lock()
	if q := ls.byKey[name]; slot != 0 && q.waits() && q.holder(key) == nil && !q.waiters[0].wants(slot) {
		ls.mu.Unlock()
		g.requeue(name)
		return
	}
	in, woken := ls.inbox, false
	var free []notice
	for local := range ls.localNames(name) {
		q := ls.byKey[local]
		holder, waits := q.holder(key), q.waits()
		// Without slots, a lock for which somebody waits here has no holder here that needs it.
		if waits && (slot == 0 || holder == nil) {
			q.waiters[0].signal(func(w *waiter) { w.offer(i, slot) })
			woken = true
			continue
		}
		free = append(free, notice{local, holder, waits, q != nil})
	}
	ls.mu.Unlock()
	joined := false
	free = slices.DeleteFunc(free, func(n notice) bool {
		if n.holder == nil || !n.holder.Join(i) {
			return false
		}
		joined = true
		if n.waits {
			g.requeue(name)
		}
		return true
	})
	for _, n := range free {
		switch {
		case woken: // the callers that are awake find out for whom it was
		case joined && !n.exists: // most likely it was for the ticket of the holder
		case in != nil && (n.waits || g.Members[i].MayPass(key)):
			g.pass(i, n.local, key, in)
		}
	}
}

// A notice is a notification that wakes nobody in a local queue.
type notice struct {
	local  string
	holder *attempt.Attempt // nil: none
	waits  bool
	exists bool // the local queue
}

// requeue makes the caller that competes for name look for itself soon, because a node has
// taken its ticket out of the queue, but the notification was not for this caller.
func (g *Group) requeue(name string) {
	look := time.Now().Add(minGrace)
	ls := &g.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if q := ls.byKey[name]; q.waits() {
		q.waiters[0].signal(func(w *waiter) {
			if w.look.IsZero() || look.Before(w.look) {
				w.look = look
			}
		})
	}
}

// warned makes the caller that competes for key look for itself, in case the notified
// waiter before it does not take the lock. Clients ask for a grace from minGrace to
// maxGrace, so any other value is forged. A shorter one would let anyone who can publish
// make all callers ask all the time.
func (g *Group) warned(key string, grace time.Duration) {
	grace = min(max(grace, minGrace), maxGrace)
	look := time.Now().Add(grace + 2*g.Near() + rand.N(grace/4+1))
	ls := &g.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	name, slot, _ := proto.Slot(key)
	for local := range ls.localNames(name) {
		if q := ls.byKey[local]; q.waits() {
			q.waiters[0].signal(func(w *waiter) {
				w.next, w.warned = true, slot
				if w.look.IsZero() || look.Before(w.look) {
					w.look = look
				}
			})
		}
	}
}

// pass passes on a notification from node i that nobody in the local queue of that name
// waited for. If somebody waits by now, that caller gets it.
func (g *Group) pass(i int, local, key string, in *inbox) {
	ls := &g.locals
	ls.mu.Lock()
	_, slot, _ := proto.Slot(key)
	q := ls.byKey[local]
	if q.waits() {
		q.waiters[0].signal(func(w *waiter) { w.offer(i, slot) })
		ls.mu.Unlock()
		return
	}
	if q == nil || q.places[i].newest == nil {
		q = g.newLocalQueue(local, in)
	}
	a := q.places[i].newest
	if a == nil || a.Key() != key { // it was for another slot
		a = q.newAttempt(key, "")
		a.Wait(q, time.Time{}, 0, 0)
		q.places[i].newest = a
	}
	q.places[i].queued = true // it was in the queue until the node notified it
	ls.mu.Unlock()
	a.LeaveQueue(i)
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

// awaited reports whether anybody waits.
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
	for key, q := range ls.byKey {
		if len(q.waiters) == 0 {
			delete(ls.byKey, key)
		}
	}
}
