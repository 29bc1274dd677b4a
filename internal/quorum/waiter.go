package quorum

import (
	"context"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/limit"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

const (
	// The first waiter in a queue tries again after attempt.LookAgain although nobody
	// notified it. A notification may be lost, or the holder may not notify. The others
	// look less often, at most lookRarely times as late.
	lookRarely = 15

	// lookForeign replaces attempt.LookAgain while a holder from another library has the lock,
	// because its release notifies nobody. It equals the longest pause of a caller that
	// polls.
	lookForeign = 250 * time.Millisecond

	// Looks come minGrace later for each place in the queue, but at most maxStagger
	// later, because anyone who can write to the queue can put any number of tickets
	// before ours.
	maxStagger = lookRarely * attempt.LookAgain

	// maxSplitPause limits the pause after a split vote, unless a round trip takes
	// longer. It is reached if the owners do not release, for example because they have
	// died.
	maxSplitPause = 250 * time.Millisecond

	// A waiter checks rumours at intervals of rumourPause if it may be next in the queue,
	// and of laterPause otherwise. Both are shorter than a grace, so a true notification
	// still finds its reservation.
	rumourPause = time.Millisecond
	laterPause  = minGrace / 4

	// maxNotifies is how often a losing waiter notifies others. They may lose in the same
	// way, and notify it in return.
	maxNotifies = 4
)

// A waiter is a caller's place in the local queue for a key. [Group.join] makes it. It
// alternates between acquire and wait, and must leave in the end. Only one goroutine may
// use it.
type waiter struct {
	local *localQueue
	asked time.Time
	turn  chan struct{} // closed when it is first in its local queue
	wake  chan struct{} // has room for one: the fields below have changed

	// The mutex of localQueues guards these.
	place   int       // in its local queue, counted from the queue's first caller
	notices []bool    // by node: it has notified since it was last asked
	stirred bool      // there is another reason to try again
	polls   bool      // too few nodes can notify it
	next    bool      // it may be next in the queue
	offers  []offer   // notifications for other slots than that of the last attempt
	slot    int       // of the last attempt; 0: none, or the lock has no slots
	warned  int       // the slot for which the waiter before it was notified; 0: none
	look    time.Time // when to look, because the waiter before it was notified; zero: never

	slots *Slots // changed once, under that mutex; nil: the lock has no slots

	// State after the last attempt.
	want   int         // the slot to try next unless one is offered; 0: any
	splits int         // split votes in a row
	stirs  int         // how often it has notified others when it took back many grants
	due    time.Time   // when to try again without a notification
	permit *limit.Turn // its turn of the budget for the next attempt, if it was not notified

	rumoured time.Time // when it last checked a false notification

	// left, if set, returns how much longer the nodes may be unavailable before the
	// caller gives up. While they are available, it returns how long that would be.
	left func() time.Duration
}

// patience returns the result of left, or a long time if there is no left.
func (w *waiter) patience() time.Duration {
	if w.left == nil {
		return time.Hour
	}
	return w.left()
}

// signal changes the state of w and wakes it. The local queues must be locked.
func (w *waiter) signal(change func(*waiter)) {
	change(w)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// acquire asks all nodes for token as [attempt.Attempt.Acquire] does, and queues the ticket of the
// local queue where it is refused.
//
// If it wins, the waiter has left the local queue. If not, acquire waits for all answers,
// because refusals say how long to wait, and takes back what was granted.
func (w *waiter) acquire(ctx context.Context, f *attempt.Fencing, token string, ttl, timeout time.Duration) (*attempt.Attempt, round.Result) {
	q := w.local
	g, key := q.group, q.lock()
	if w.slots != nil {
		key = proto.SlotKey(key, w.aim())
	}
	a := q.newAttempt(key, token)
	ls := &g.locals
	ls.mu.Lock()
	in := ls.inbox
	notified, rumours := w.news()
	w.stirred, w.look = false, time.Time{}
	ls.mu.Unlock()
	if in != nil && in == q.inbox {
		in.Await(ctx, timeout)
		a.Wait(q, w.asked, ttl, timeout)
	}
	a.Vote(f.Of(key), ttl)
	answered := false
	defer func() {
		if !answered { // a hook has panicked
			a.Abandon()
		}
	}()
	res, vain := a.Compete(ctx, w, rumours, ttl, timeout)
	w.judge(notified, res.Votes)
	granted := res.Votes
	if res.Verdict == round.Won {
		res = a.Agree(ctx, res, timeout)
	}
	answered = true
	w.permit.End(res.Answer())
	w.permit = nil
	if res.Verdict == round.Won {
		q.leave(w, a, ttl)
		return a, res
	}
	if vain { // it continues to wait as before
		a.Withdraw()
		return a, res
	}
	if w.slots != nil {
		w.search(ctx, a, res.Verdict, granted, timeout)
	} else {
		w.plan(a, res.Verdict, granted)
	}
	return a, res
}

// news returns the nodes that have notified w since they were last asked, or nil. If
// those are the only reason to try and none is believed, it returns them as rumours too.
// The local queues must be locked.
func (w *waiter) news() (notified, rumours []bool) {
	if !slices.Contains(w.notices, true) {
		return nil, nil
	}
	notified = slices.Clone(w.notices)
	if w.stirred || w.permit != nil || w.believes(w.notices) {
		return notified, nil
	}
	return notified, notified
}

// rumoursOnly reports whether no believed node has notified w. The local queues must be locked.
func (w *waiter) rumoursOnly() bool {
	return !w.believes(w.notices) && !slices.ContainsFunc(w.offers, func(o offer) bool {
		return !w.local.group.Members[o.node].Rumours.Doubted()
	})
}

// believes reports whether a node in notices is believed.
func (w *waiter) believes(notices []bool) bool {
	for i, called := range notices {
		if called && !w.local.group.Members[i].Rumours.Doubted() {
			return true
		}
	}
	return false
}

// judge notes whether the nodes that had notified have granted. A refusal says nothing about
// a node if the notification may have been for another ticket of this process.
func (w *waiter) judge(notified []bool, votes []round.Vote) {
	vain := false
	for i, called := range notified {
		if called && (votes[i].Outcome == round.Granted || votes[i].Outcome == round.Taken) {
			granted := votes[i].Outcome == round.Granted
			if !granted && w.ambiguous() {
				continue
			}
			w.local.group.Members[i].Rumours.Granted(granted)
			vain = vain || !granted
		}
	}
	if vain {
		w.rumoured = time.Now()
	}
}

// ambiguous reports whether a notification may have been for another ticket than that of w.
func (w *waiter) ambiguous() bool {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return w.local.ambiguous()
}

// Clear clears the notification of node i, which is about to be asked.
func (w *waiter) Clear(i int) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.notices[i] = false
}

// Notified returns the nodes that have notified since they were last asked.
func (w *waiter) Notified() []bool {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.Clone(w.notices)
}

// Wake returns the channel that has a value after a change.
func (w *waiter) Wake() <-chan struct{} { return w.wake }

// poll notes whether w has to poll.
func (w *waiter) poll(polls bool) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.polls = polls
}

// expect notes whether w may be next in the queue.
func (w *waiter) expect(next bool) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.next = next
}

// wait waits until another attempt is worthwhile: the waiter was notified, or the holder's
// lease may have ended and the budget has a turn. If too few nodes can notify it, wait
// waits for poll at most. If ctx has a deadline, wait returns shortly before it, to leave
// time for a last attempt.
//
// It returns ctx's error if ctx has ended or less time than shortly is left. It returns
// limit.ErrAway if no time is left to the caller, because other callers of this process may have
// found the nodes unavailable.
func (w *waiter) wait(ctx context.Context, poll, shortly time.Duration) error {
	end := w.due
	if w.polls {
		end = time.Now().Add(poll)
	}
	if deadline, ok := ctx.Deadline(); ok {
		last := deadline.Add(-max(shortly, time.Millisecond))
		if !last.After(time.Now()) { // the last attempt was the final one
			<-ctx.Done()
			return ctx.Err()
		}
		if last.Before(end) {
			end = last
		}
	}
	var (
		timer *time.Timer
		turn  *limit.Turn
		ready <-chan struct{}
	)
	for {
		called, at := w.attends(end)
		left := time.Until(at)
		switch {
		case left > 0:
		case called:
			turn.Leave()
			return ctx.Err()
		case turn == nil:
			turn = w.local.group.budget.Join()
			ready = turn.Ready()
		}
		select {
		case <-ready:
			w.permit = turn
			return ctx.Err()
		default:
		}
		d := w.patience()
		if d <= 0 {
			turn.Leave()
			return limit.ErrAway
		}
		if left > 0 {
			d = min(d, left)
		}
		if timer == nil {
			timer = time.NewTimer(d)
			defer timer.Stop()
		} else {
			timer.Reset(d)
		}
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ready:
			w.permit = turn
			return ctx.Err()
		case <-ctx.Done():
			turn.Leave()
			return ctx.Err()
		}
	}
}

// attends returns when w should try again, at end at the latest, and whether that is
// because of a notification. Rumours are put off for a moment if the last one was false.
func (w *waiter) attends(end time.Time) (called bool, at time.Time) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if w.stirred {
		return true, time.Time{}
	}
	if slices.Contains(w.notices, true) || len(w.offers) > 0 {
		if !w.rumoursOnly() {
			return true, time.Time{}
		}
		pause := laterPause
		if w.next {
			pause = rumourPause
		}
		if heed := w.rumoured.Add(pause); heed.Before(end) {
			return true, heed
		}
	}
	if !w.look.IsZero() && w.look.Before(end) {
		return false, w.look
	}
	return false, end
}

// leave gives up the place in the local queue. It also leaves the queues on the nodes,
// unless another caller of this local queue takes over. It does nothing if the waiter has
// already left.
func (w *waiter) leave() {
	w.permit.Leave()
	w.permit = nil
	w.local.leave(w, nil, 0)
}
