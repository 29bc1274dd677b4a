package quorum

import (
	"context"
	"slices"
	"time"
)

const (
	// lookAgain is when the first waiter in a queue tries again although nobody notified
	// it. A notification may be lost, or the holder may not notify. The others look less
	// often, at most lookRarely times as late.
	lookAgain  = 2 * time.Second
	lookRarely = 15

	// lookForeign replaces lookAgain while a holder from another library has the lock,
	// because its release notifies nobody. It equals the longest pause of a caller that
	// polls.
	lookForeign = 250 * time.Millisecond

	// Looks come minGrace later for each place in the queue, but at most maxStagger
	// later, because anyone who can write to the queue can put any number of tickets
	// before ours.
	maxStagger = lookRarely * lookAgain

	// maxSplitPause limits the pause after a split vote, unless a round trip takes
	// longer. It is reached if the owners do not release, for example because they have
	// died.
	maxSplitPause = 250 * time.Millisecond

	// maxNotifies is how often a losing waiter notifies others. They may lose in the same
	// way, and notify it in return.
	maxNotifies = 4
)

// A Waiter is a caller's place in the local queue for a key. [Group.Join] makes it. It
// alternates between Acquire and Wait, and must be left in the end. Only one goroutine
// may use it.
type Waiter struct {
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
	look    time.Time // when to look, because the waiter before it was notified; zero: never

	// State after the last attempt.
	splits int       // split votes in a row
	stirs  int       // how often it has notified others when it took back many grants
	due    time.Time // when to try again without a notification
	permit *turn     // its turn of the budget for the next attempt, if it was not notified

	rumoured time.Time // when it last checked a false notification

	// left, if set, returns how much longer the nodes may be unavailable before the
	// caller gives up. While they are available, it returns how long that would be.
	left func() time.Duration
}

// patience returns the result of left, or a long time if there is no left.
func (w *Waiter) patience() time.Duration {
	if w.left == nil {
		return time.Hour
	}
	return w.left()
}

// signal changes the state of w and wakes it. The local queues must be locked.
func (w *Waiter) signal(change func(*Waiter)) {
	change(w)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Acquire asks all nodes for token as [Group.Acquire] does, and queues the ticket of the
// local queue where it is refused.
//
// If it wins, the Waiter has left the local queue. If not, Acquire waits for all answers,
// because refusals say how long to wait, and takes back what was granted.
func (w *Waiter) Acquire(ctx context.Context, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	return w.acquire(ctx, nil, token, ttl, timeout)
}

// AcquireFenced is Acquire with a fencing token.
func (w *Waiter) AcquireFenced(ctx context.Context, f *Fencing, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	return w.acquire(ctx, f, token, ttl, timeout)
}

func (w *Waiter) acquire(ctx context.Context, f *Fencing, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	ln := w.local
	g := ln.group
	a := g.attempt(ln.key, token)
	ls := &g.locals
	ls.mu.Lock()
	in := ls.inbox
	notified, rumours := w.notified()
	w.stirred, w.look = false, time.Time{}
	ls.mu.Unlock()
	if in != nil && in.ticket == ln.ticket {
		in.await(ctx, timeout)
		a.local, a.inbox, a.asked, a.ttl, a.timeout = ln, in, w.asked, ttl, timeout
	}
	if f != nil {
		f.fence(a, ttl)
	}
	req := request{kind: acquiring, ttl: ttl, timeout: timeout}
	var res Result
	vain := false
	if len(a.states) == 1 {
		w.heed(0)
		res = a.round(ctx, req)
	} else {
		res, vain = newContest(w, a, req).run(ctx, rumours)
	}
	w.judge(notified, res.Votes)
	granted := res.Votes
	if res.Verdict == Won {
		res = a.agree(ctx, res, timeout)
	}
	w.permit.end(res)
	w.permit = nil
	if res.Verdict == Won {
		ln.leave(w, a)
		return a, res
	}
	if vain { // it continues to wait as before
		a.mu.Lock()
		a.clean(request{kind: releasing, stay: true}, time.Now())
		a.mu.Unlock()
		return a, res
	}
	w.plan(a, res.Verdict, granted)
	return a, res
}

// notified returns the nodes that have notified w since they were last asked, or nil. If
// those are the only reason to try and none is believed, it returns them as rumours too.
// The local queues must be locked.
func (w *Waiter) notified() (notified, rumours []bool) {
	if !slices.Contains(w.notices, true) {
		return nil, nil
	}
	notified = slices.Clone(w.notices)
	if w.stirred || w.permit != nil || !w.rumoursOnly() {
		return notified, nil
	}
	return notified, notified
}

// rumoursOnly reports whether no believed node has notified w. The local queues must be locked.
func (w *Waiter) rumoursOnly() bool {
	for i, called := range w.notices {
		if called && !w.local.group.members[i].rumours.doubted() {
			return false
		}
	}
	return true
}

// judge notes whether the nodes that had notified have granted.
func (w *Waiter) judge(notified []bool, votes []Vote) {
	vain := false
	for i, called := range notified {
		if called && (votes[i].Outcome == Granted || votes[i].Outcome == Taken) {
			granted := votes[i].Outcome == Granted
			w.local.group.members[i].rumours.granted(granted)
			vain = vain || !granted
		}
	}
	if vain {
		w.rumoured = time.Now()
	}
}

// heed clears the notification of node i, which is about to be asked.
func (w *Waiter) heed(i int) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.notices[i] = false
}

// callers returns the nodes that have notified since they were last asked.
func (w *Waiter) callers() []bool {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.Clone(w.notices)
}

// poll notes whether w has to poll.
func (w *Waiter) poll(polls bool) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.polls = polls
}

// expect notes whether w may be next in the queue.
func (w *Waiter) expect(next bool) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.next = next
}

// Wait waits until another attempt is worthwhile: the Waiter was notified, or the
// holder's lease may have ended and the budget has a turn. If too few nodes can notify
// it, Wait waits for poll at most. If ctx has a deadline, Wait returns shortly before it,
// to leave time for a last attempt.
//
// It returns ctx's error if ctx has ended or less time than shortly is left. It returns
// [ErrAway] if no time is left to the caller, because other callers of this process may
// have found the nodes unavailable.
func (w *Waiter) Wait(ctx context.Context, poll, shortly time.Duration) error {
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
		turn  *turn
		ready <-chan struct{}
	)
	for {
		called, at := w.attends(end)
		left := time.Until(at)
		switch {
		case left > 0:
		case called:
			turn.leave()
			return ctx.Err()
		case turn == nil:
			turn = w.local.group.budget.join()
			ready = turn.ready
		}
		select {
		case <-ready:
			w.permit = turn
			return ctx.Err()
		default:
		}
		d := w.patience()
		if d <= 0 {
			turn.leave()
			return ErrAway
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
			turn.leave()
			return ctx.Err()
		}
	}
}

// attends returns when w should try again, at end at the latest, and whether that is
// because of a notification. Rumours are put off for a moment if the last one was false.
func (w *Waiter) attends(end time.Time) (called bool, at time.Time) {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if w.stirred {
		return true, time.Time{}
	}
	if slices.Contains(w.notices, true) {
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

// Leave gives up the place in the local queue. It also leaves the queues on the nodes,
// unless another caller of this local queue takes over. It does nothing if the Waiter has
// already left.
func (w *Waiter) Leave() {
	w.permit.leave()
	w.permit = nil
	w.local.leave(w, nil)
}
