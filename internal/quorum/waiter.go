package quorum

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// lookAgain is after how long a waiter at the head of the queue asks again,
	// though nobody called it: for releases that were lost, and holders that do not
	// call. The others ask more rarely, up to lookRarely times that.
	lookAgain  = 2 * time.Second
	lookRarely = 15

	// lookForeign is in place of lookAgain while a holder of another library has the lock,
	// whose release notifies nobody. It is as long as the longest pause of a caller that polls.
	lookForeign = 250 * time.Millisecond

	// Looks come minGrace later for each place in the queue, and maxStagger later at most.
	// Anyone who can write to the queue can put any number of tickets before ours.
	maxStagger = lookRarely * lookAgain

	// maxSplitPause bounds the pause after a split vote, unless a round trip takes longer. It
	// is reached where the owners do not let go, as when they have died.
	maxSplitPause = 250 * time.Millisecond

	// maxStirs is how often a waiter that loses calls others. They may lose in the same way,
	// and call back.
	maxStirs = 4
)

// A Waiter is a caller's place in the line for a key. It is made by [Group.Join],
// competes by turns of Acquire and Wait, and must be left in the end. It is used by one
// goroutine.
type Waiter struct {
	line  *line
	asked time.Time
	turn  chan struct{} // closed when it is the first in its line
	wake  chan struct{} // has room for one: what follows has changed

	// Guarded by the mutex of the lines.
	place   int       // in its line, counted from the first caller that the line had
	calls   []bool    // by node: it has called since it was last asked
	stirred bool      // there is another reason to try
	polls   bool      // too few nodes can call it
	next    bool      // it may be the next in the queue
	look    time.Time // when to look, as somebody before us was called; zero: never

	// What came of the last try.
	splits int       // split votes in a row
	stirs  int       // how often it has called others, as it took back many grants
	due    time.Time // of the next one, unless it is called
	permit *turn     // of the budget, for the next one, which it was not called for

	rumoured time.Time // when it last verified a notification in vain

	// left, if set, returns for how long the nodes may still be unavailable before the
	// caller gives up; while they are available, how long that would be.
	left func() time.Duration
}

// patience returns what left says, and a long time without it.
func (w *Waiter) patience() time.Duration {
	if w.left == nil {
		return time.Hour
	}
	return w.left()
}

// signal changes what w is to notice, and wakes it. The lines are locked.
func (w *Waiter) signal(change func(*Waiter)) {
	change(w)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Acquire tries token as [Group.Acquire] does, and has the ticket of the line queued
// where it is refused. If it does not win, all answers are waited for: what was
// granted is taken back, and what was refused says how long to wait. If it wins, the
// Waiter has left the line.
func (w *Waiter) Acquire(ctx context.Context, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	return w.acquire(ctx, nil, token, ttl, timeout)
}

// AcquireFenced is Acquire with a fencing token.
func (w *Waiter) AcquireFenced(ctx context.Context, f *Fencing, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	return w.acquire(ctx, f, token, ttl, timeout)
}

func (w *Waiter) acquire(ctx context.Context, f *Fencing, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	ln := w.line
	g := ln.group
	a := g.attempt(ln.key, token)
	ls := &g.lines
	ls.mu.Lock()
	in := ls.inbox
	notified, rumours := w.notified()
	w.stirred, w.look = false, time.Time{}
	ls.mu.Unlock()
	if in != nil && in.ticket == ln.ticket {
		in.await(ctx, timeout)
		a.line, a.inbox, a.asked, a.ttl, a.timeout = ln, in, w.asked, ttl, timeout
	}
	if f != nil {
		f.fence(a, ttl)
	}
	req := request{kind: acquiring, ttl: ttl, timeout: timeout}
	var res Result
	vain := false
	if len(a.seats) == 1 {
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
	if vain { // it waits on as before
		a.mu.Lock()
		a.clean(request{kind: releasing, stay: true}, time.Now())
		a.mu.Unlock()
		return a, res
	}
	w.plan(a, res.Verdict, granted)
	return a, res
}

// notified returns which nodes have notified w since they were last asked, nil if none has,
// and rumours if these are all that w has to go by and none of them is to be believed. The
// lines are locked.
func (w *Waiter) notified() (notified, rumours []bool) {
	if !slices.Contains(w.calls, true) {
		return nil, nil
	}
	notified = slices.Clone(w.calls)
	if w.stirred || w.permit != nil || !w.rumoursOnly() {
		return notified, nil
	}
	return notified, notified
}

// rumoursOnly reports whether no node has notified w that is to be believed. The lines are
// locked.
func (w *Waiter) rumoursOnly() bool {
	for i, called := range w.calls {
		if called && !w.line.group.members[i].rumours.doubted() {
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
			w.line.group.members[i].rumours.granted(granted)
			vain = vain || !granted
		}
	}
	if vain {
		w.rumoured = time.Now()
	}
}

// heed notes that node i is about to be asked, and forgets what it called before.
func (w *Waiter) heed(i int) {
	ls := &w.line.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.calls[i] = false
}

// callers returns which nodes have called since they were last asked.
func (w *Waiter) callers() []bool {
	ls := &w.line.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.Clone(w.calls)
}

// plan takes back what a was granted, and says how long to wait, after it has come
// to the verdict with these answers to its acquires.
func (w *Waiter) plan(a *Attempt, verdict Verdict, votes []Vote) {
	g := w.line.group
	a.mu.Lock()
	defer a.mu.Unlock()
	var (
		n       = len(a.seats)
		spare   = n - g.need
		open    = 0  // nodes that granted, or may have
		queued  = 0  // nodes that will call us
		rank    = -1 // the lowest
		foreign = 0  // nodes on which another library has the lock
		left    = make([]time.Duration, 0, n)
	)
	const never = time.Duration(1) << 62
	for i, v := range votes {
		s := &a.seats[i]
		switch v.Outcome {
		case Taken:
			left = append(left, s.refusal.Left)
			if s.ticketed {
				if s.refusal.Owner != "" && g.cfg.Foreign != nil && g.cfg.Foreign(s.refusal.Owner) {
					foreign++
				}
				s.member.queueing.answered(s.refusal)
			}
			if s.refusal.Rank >= 0 {
				queued++
				if rank < 0 || s.refusal.Rank < rank {
					rank = s.refusal.Rank
				}
			}
		case Granted:
			open++
			left = append(left, 0)
			if a.inbox != nil && a.inbox.hears(i) && s.member.queueing.works() {
				queued++
			}
		default:
			open++
			left = append(left, never)
		}
	}
	// Others that lost may have seen us as the one owner, and sleep. If it goes on so, that is
	// not why, and it is enough that we do not sleep.
	crowded := open > spare
	call := crowded && w.stirs < maxStirs
	if call {
		w.stirs++
	}
	a.clean(request{kind: releasing, stay: true, call: call}, time.Now())

	w.poll(queued <= spare || verdict == Unavailable)
	if w.polls {
		return
	}
	slices.Sort(left)
	expiry := left[g.need-1]
	if expiry < never {
		expiry += time.Millisecond
	}
	if open > 0 && a.majority(votes) <= spare || crowded && !call {
		w.due = time.Now().Add(min(splitPause(g.near(), w.splits), expiry))
		w.splits++
		return
	}
	w.splits = 0
	rank = max(rank, 0)
	w.expect(rank == 0)
	look := lookAgain
	if foreign > spare {
		look = lookForeign
	}
	pause := time.Duration(min(1+rank, lookRarely)) * look
	pause += rand.N(pause/2) - pause/4
	pause = min(pause, expiry)
	w.due = time.Now().Add(pause + stagger(rank))
}

// stagger returns how much later than the first of the queue a waiter looks that has so
// many before it. Beyond the longest time it is random, so that not all look at once.
func stagger(rank int) time.Duration {
	if rank > int(maxStagger/minGrace) {
		return maxStagger/2 + rand.N(maxStagger/2)
	}
	return time.Duration(rank) * minGrace
}

// splitPause returns how long to pause after a split vote, the one after so many in a row:
// a random time, of up to two round trips at first, that doubles.
func splitPause(trip time.Duration, splits int) time.Duration {
	first := 2 * max(trip, time.Microsecond)
	return rand.N(min(first<<min(splits, 20), max(first, maxSplitPause))) + 1
}

// poll notes whether w can be called, or has to poll.
func (w *Waiter) poll(polls bool) {
	ls := &w.line.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.polls = polls
}

// expect notes whether w may be the next in the queue.
func (w *Waiter) expect(next bool) {
	ls := &w.line.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.next = next
}

// Wait waits until it is worth trying again: until the Waiter is called, or the
// holder's lease may have ended and the budget has a turn. Where it cannot be called, by
// too many nodes, it waits for poll at most. If ctx has a deadline before, it waits until
// shortly before that, so that there is time for a last try; it returns ctx's error if
// that ended, or if the deadline is nearer than shortly, and [ErrAway] if no time is left to
// the caller: others of this process may have found that the nodes are away.
func (w *Waiter) Wait(ctx context.Context, poll, shortly time.Duration) error {
	end := w.due
	if w.polls {
		end = time.Now().Add(poll)
	}
	if deadline, ok := ctx.Deadline(); ok {
		last := deadline.Add(-max(shortly, time.Millisecond))
		if !last.After(time.Now()) { // the last try was that
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
			turn = w.line.group.budget.join()
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

// attends returns when w is to try again, which is end at the latest, and whether it has
// been called for that. Rumours are put off for a moment if the last one was vain.
func (w *Waiter) attends(end time.Time) (called bool, at time.Time) {
	ls := &w.line.group.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if w.stirred {
		return true, time.Time{}
	}
	if slices.Contains(w.calls, true) {
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

// Leave gives up the place in the line, and in the queues on the nodes unless
// another caller of the line takes it over. It does nothing if the Waiter has left.
func (w *Waiter) Leave() {
	w.permit.leave()
	w.permit = nil
	w.line.leave(w, nil)
}
