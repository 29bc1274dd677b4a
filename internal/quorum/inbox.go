package quorum

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
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

	// A broken subscription is renewed after a random time of up to minResubscribe. The
	// limit doubles with each attempt, up to maxResubscribe, and starts over once a
	// subscription has lasted that long.
	minResubscribe = 10 * time.Millisecond
	maxResubscribe = time.Second
)

// An inbox is where nodes notify this process: one channel for all keys, and a
// subscription to it on every node that supports this. It has one goroutine for each of
// these nodes, until it is closed.
type inbox struct {
	group   *Group
	channel string
	ticket  string
	key     string // a lock that somebody waited for when the inbox was opened
	opened  time.Time
	cancel  context.CancelFunc

	mu            sync.Mutex
	subscriptions []subscription // by node
	pending       int            // subscriptions that attempts still wait for
	settled       chan struct{}  // closed when none is pending
}

// An subscription is the inbox's subscription on one node.
type subscription struct {
	open    bool // messages arrive, as an echo has shown
	settled bool // attempts no longer wait for it
}

// newInbox opens an inbox in the background.
func newInbox(g *Group, key string) *inbox {
	ctx, cancel := context.WithCancel(context.Background())
	in := &inbox{group: g, channel: g.cfg.Inbox(), key: key, opened: time.Now(), cancel: cancel, subscriptions: make([]subscription, len(g.members)), settled: make(chan struct{})}
	grace := min(max(minGrace, graceTrips*g.farthest()), maxGrace)
	in.ticket = proto.Ticket{Grace: grace, Channel: in.channel}.String()
	for _, l := range g.members {
		if l.queueing.notifies() {
			in.pending++
		}
	}
	if in.pending == 0 {
		close(in.settled)
	}
	for i, l := range g.members {
		if l.queueing.notifies() {
			go in.listen(ctx, i, l)
		}
	}
	return in
}

func (in *inbox) close() { in.cancel() }

// await waits until every subscription is known to work or not to work, ctx ends, or the
// inbox has been open for d. So a node that hangs delays only the first attempt.
func (in *inbox) await(ctx context.Context, d time.Duration) {
	select {
	case <-in.settled:
		return
	default:
	}
	timer := time.NewTimer(time.Until(in.opened.Add(d)))
	defer timer.Stop()
	select {
	case <-in.settled:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// hears reports whether messages arrive from node i.
func (in *inbox) hears(i int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.subscriptions[i].open
}

// listen keeps a subscription on node i until ctx ends, or the node refuses
// subscriptions.
func (in *inbox) listen(ctx context.Context, i int, l *member) {
	pause, again := minResubscribe, false
	counted := false // waiters may rely on a subscription that is broken
	unknown := 0     // subscriptions in a row that the node did not know of
	for {
		var ready time.Time
		mute, err := in.subscribe(ctx, i, l, func() {
			in.set(i, true)
			if again { // a message may have been missed
				in.group.locals.wakeAll(false)
			}
			ready, again, counted, unknown = time.Now(), true, true, 0
		})
		in.set(i, false)
		if mute == errUnknown {
			if unknown++; unknown == manyUnknown {
				l.queueing.tell(mute)
			}
			mute = nil
		}
		// A subscription that breaks sooner is of little use, and each new one costs an
		// attempt.
		if !ready.IsZero() && time.Since(ready) >= maxResubscribe {
			pause = minResubscribe
		}
		if ctx.Err() != nil {
			return
		}
		refused := errors.Is(err, errors.ErrUnsupported) || errors.Is(err, backend.ErrRefused)
		if refused || mute != nil {
			l.queueing.tell(cmp.Or(mute, err))
			if again { // waiters that rely on it must not continue to sleep
				in.group.locals.wakeAll(false)
			}
		}
		if refused {
			return
		}
		if mute == nil && ready.IsZero() && counted && !l.away() {
			// It is not back at once although commands may work, so sleeping waiters must
			// poll.
			counted = false
			in.group.locals.wakeAll(false)
		}
		wait := rand.N(pause) + 1
		if mute != nil { // until then, tickets that name this inbox are dead
			wait = queueingAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, maxResubscribe)
	}
}

// subscribe listens on node i until the subscription breaks, with err, or ctx ends. If
// the node's messages do not arrive, subscribe ends the subscription and returns the
// reason in mute. It calls opened when messages arrive.
func (in *inbox) subscribe(ctx context.Context, i int, l *member, opened func()) (mute, err error) {
	ctx, stop := context.WithCancel(ctx)
	h := &hearing{inbox: in, index: i, member: l, opened: opened, heard: make(chan struct{}, 1)}
	var watching sync.WaitGroup
	subscriber, _ := backend.As[backend.Subscriber](l.node)
	err = subscriber.Subscribe(ctx, in.channel, backend.Events{
		Ready: func() {
			watching.Go(func() {
				if mute = h.watch(ctx); mute != nil {
					stop()
				}
			})
		},
		Message: func(payload string) {
			h.hear()
			in.group.hear(i, payload)
		},
	})
	stop()
	watching.Wait()
	return mute, err
}

// set notes whether messages arrive from node i.
func (in *inbox) set(i int, open bool) {
	in.mu.Lock()
	in.subscriptions[i].open = open
	in.mu.Unlock()
	in.settle(i)
}

// settle notes that attempts need not wait for node i any longer, although it may still
// be heard later.
func (in *inbox) settle(i int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if e := &in.subscriptions[i]; !e.settled {
		e.settled = true
		if in.pending--; in.pending == 0 {
			close(in.settled)
		}
	}
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
func (g *Group) notified(i int, key string) {
	ls := &g.locals
	ls.mu.Lock()
	ln := ls.byKey[key]
	in := ls.inbox
	var holder *Attempt
	if ln != nil {
		if len(ln.waiters) > 0 {
			ln.waiters[0].signal(func(w *Waiter) { w.notices[i] = true })
			in = nil
		} else {
			holder = ln.holders[len(ln.holders)-1]
		}
	}
	ls.mu.Unlock()
	if in != nil && (holder == nil || !holder.join(i)) && g.members[i].mayPass(key) {
		g.pass(i, key, in.ticket)
	}
}

// warned makes the caller that competes for key look for itself, in case the notified
// waiter before it does not take the lock. Clients ask for a grace from minGrace to
// maxGrace, so any other value is forged. A shorter one would let anyone who can publish
// make all callers ask all the time.
func (g *Group) warned(key string, grace time.Duration) {
	grace = min(max(grace, minGrace), maxGrace)
	look := time.Now().Add(grace + 2*g.near() + rand.N(grace/4+1))
	ls := &g.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln := ls.byKey[key]; ln != nil && len(ln.waiters) > 0 {
		ln.waiters[0].signal(func(w *Waiter) {
			w.next = true
			if w.look.IsZero() || look.Before(w.look) {
				w.look = look
			}
		})
	}
}

// pass passes on a notification from node i that nobody in this process waits for.
func (g *Group) pass(i int, key, ticket string) {
	ls := &g.locals
	ls.mu.Lock()
	ln := ls.byKey[key]
	if ln == nil || ln.places[i].newest == nil {
		ln = &localQueue{group: g, key: key, ticket: ticket, places: make([]place, len(g.members))}
		a := g.attempt(key, "")
		a.local = ln
		ln.places[i].newest = a
	}
	a := ln.places[i].newest
	ln.places[i].queued = true // it was in the queue until the node notified it
	ls.mu.Unlock()
	a.leaveQueue(i)
}
