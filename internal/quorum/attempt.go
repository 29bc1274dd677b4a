package quorum

import (
	"context"
	"slices"
	"sync"
	"time"
)

// An Attempt is one token on every node of a group. [Group.Acquire] makes one, and
// [Group.Adopt] makes one for a token that was acquired elsewhere. Its methods may be
// called concurrently.
type Attempt struct {
	group      *Group
	key, token string

	// Set only if the attempt waits in a local queue: where it is notified, and what it
	// asks for.
	local   *localQueue
	inbox   *inbox
	asked   time.Time // when its caller began to wait
	ttl     time.Duration
	timeout time.Duration

	voting *voting // for its fencing token; nil: none is wanted

	mu     sync.Mutex
	states []*nodeState // node states; nil once released and no longer needed
	one    [1]*nodeState
	gone   bool    // an extension found that a quorum does not have the token
	until  Instant // end of the lease, if it won in a local queue; zero: it has ended
	queue  string  // key of the queue, once named is set; "": the key has none
	named  bool    // queue and plain are set

	// The keys and arguments of a release without a ticket, once they are needed.
	plain struct {
		keys [2]string
		room [3]string
		args []string // uses room
	}

	// Space for the two rounds that every attempt has; allocated separately, they would
	// be most of what a lock allocates. Each is used for one round. Its votes do not
	// change after the verdict, because they then belong to the caller, as part of a
	// Result.
	acquired, released round
}

// Acquire asks every node to grant token for ttl, in whole milliseconds. It returns as
// soon as the verdict is known, and at the latest after timeout, the time to wait for a
// node, or when ctx ends. Unless it won, it releases the token in the background.
//
// The token must be new: never used before, for any key.
func (g *Group) Acquire(ctx context.Context, key, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	a := g.attempt(key, token)
	res := a.round(ctx, request{kind: acquiring, ttl: ttl, timeout: timeout})
	if res.Verdict != Won {
		a.Abandon()
	}
	return a, res
}

// Adopt returns the attempt of a token that was acquired elsewhere, perhaps by another
// process. It does no I/O. life is how long a key with that token can still live, and so
// how long its deletion is worth repeating.
func (g *Group) Adopt(key, token string, life time.Duration) *Attempt {
	a := g.attempt(key, token)
	now := time.Now()
	a.acquired.start = now // the best guess
	for i := range a.states {
		a.states[i].token = held
		a.states[i].mayLive(life, false, now)
	}
	return a
}

func (g *Group) attempt(key, token string) *Attempt {
	n := len(g.members)
	a := &Attempt{group: g, key: key, token: token}
	if a.states = a.one[:]; n > 1 {
		a.states = make([]*nodeState, n)
	}
	votes := make([]Vote, 2*n)
	a.acquired.votes, a.released.votes = votes[:n:n], votes[n:]
	for i := range a.states {
		a.states[i] = &nodeState{attempt: a, member: g.members[i].of(key), index: i}
	}
	return a
}

// Extend makes the token live for at least ttl more on every node that has it. It returns
// when Acquire does. It never shortens the life of a key, and never brings a key back.
func (a *Attempt) Extend(ctx context.Context, ttl, timeout time.Duration) Result {
	return a.round(ctx, request{kind: extending, ttl: ttl, timeout: timeout})
}

// Release deletes the token from every node that has it or may have it. It returns when
// Acquire does, except that a ctx that has already ended does not shorten the wait.
// Deletions that have not succeeded by then continue in the background until they do, or
// until no key of the token can be alive.
func (a *Attempt) Release(ctx context.Context, timeout time.Duration) Result {
	defer a.group.locals.release(a)
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if a.group.releases.enter(ctx, a.acquired.start) {
		defer a.group.releases.leave()
	}
	defer a.shed()
	return a.round(ctx, request{kind: releasing, timeout: timeout})
}

// shed frees what a released attempt no longer needs. A deletion may wait for its node
// for a long time; it should keep only its own node state and a alive.
func (a *Attempt) shed() {
	if a.local != nil {
		return // it may still have to remove its ticket from a queue
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states, a.one = nil, [1]*nodeState{}
	a.acquired.votes, a.released.votes = nil, nil
}

func (a *Attempt) ask(req request, now time.Time) {
	for _, s := range a.states {
		s.ask(req, now)
	}
	a.skip(req, now)
}

// Abandon releases the token in the background.
func (a *Attempt) Abandon() {
	defer a.group.locals.release(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clean(request{kind: releasing}, time.Now())
}

// clean asks every node to delete the token.
func (a *Attempt) clean(req request, now time.Time) {
	for _, s := range a.states {
		s.clean(req, now)
	}
	a.skip(req, now)
}

// skip answers req if a has no node states any more, because then nothing is left to ask.
func (a *Attempt) skip(req request, now time.Time) {
	if a.states == nil {
		for i := range a.group.members {
			req.round.vote(i, Vote{Outcome: Skipped}, now)
		}
	}
}

// Lasts sets when the lease of a, which has won, ends unless it is extended again. Until
// then, nodes that notify this process are added to the lock.
func (a *Attempt) Lasts(until Instant) {
	if a.local == nil { // nobody notifies it
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = until
}

// Lose says that the lease of a has ended although a was not released. From then on no
// node is added to it. Release still deletes the token from the nodes that have it, and
// counts them.
func (a *Attempt) Lose() {
	if a.local == nil {
		return
	}
	a.Lasts(Instant{})
	a.group.locals.lose(a)
}

// lacks reports whether the token is not on node i and will not come there.
func (a *Attempt) lacks(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.states[i].token == absent
}

// join asks node i, which has notified this process, to grant a lock that a has won
// without it: the more nodes have a lock, the more of them may fail.
//
// It reports whether a uses the notification, now or when it is released. a does not if
// it is being released. It does not if its lease has ended either, because it would take
// the node from the next holder.
func (a *Attempt) join(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.states[i]
	if s.released.Load() || a.until.Past(a.group.cfg.Clock.Now()) {
		return false
	}
	// A rejoin that is under way names no ticket, so the node rejects it while the lock
	// is reserved for us.
	rejoins := s.busy && isRejoin(s.current) && !slices.ContainsFunc(s.queue, isJoin)
	if (s.token == absent || rejoins) && !s.rejoin.bars(time.Now()) {
		s.ask(request{kind: acquiring, joins: true, ttl: a.ttl, timeout: a.timeout}, time.Now())
	}
	return true
}

// leaveQueue removes the ticket from the queue of node i.
func (a *Attempt) leaveQueue(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states[i].clean(request{kind: releasing}, time.Now())
}

func (a *Attempt) newRound(k kind) *round {
	a.mu.Lock()
	defer a.mu.Unlock()
	var r *round
	switch {
	case k == acquiring:
		r = &a.acquired // an attempt acquires only once
	case k == releasing && a.released.kind == 0:
		r = &a.released
	default:
		r = &round{votes: make([]Vote, len(a.group.members))}
	}
	r.kind, r.need, r.start = k, a.group.need, time.Now()
	return r
}

// round asks every node for req and waits for the verdict.
func (a *Attempt) round(ctx context.Context, req request) Result {
	r := a.newRound(req.kind)
	req.round = r
	alone := a.alone(ctx, req)

	a.mu.Lock()
	if !alone {
		if req.kind == releasing {
			a.clean(req, r.start)
		} else {
			a.ask(req, r.start)
		}
	}
	var p *deadline
	if r.verdict == Undecided {
		p = a.group.deadlines.begin(r.start, req.timeout)
		r.decided = p.news
	}
	a.mu.Unlock()

	if p != nil {
		if done := ctx.Done(); done == nil { // the common case; a plain receive is cheaper
			<-p.news
		} else {
			select {
			case <-p.news:
			case <-done:
			}
		}
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if p != nil {
		r.decided = nil
		a.group.deadlines.end(p)
	}
	ctxErr := ended(ctx)
	switch {
	case r.verdict == Won || r.verdict == Lost || r.verdict == Gone:
		ctxErr = nil // the nodes decided, so ctx did not end the round
	case r.verdict == Undecided && ctxErr != nil:
		r.cut()
	case r.verdict == Undecided:
		r.expire(a.late(req.timeout))
	}
	return r.result(ctxErr)
}

// ended returns the error of a context that has ended. A deadline that has passed counts
// even if ctx has no error yet, because a driver that returns at the deadline can be
// ahead of the timer that ends the context.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return nil
}

// endsWithin reports whether ctx has a deadline less than d from now.
func endsWithin(ctx context.Context, d time.Duration, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.Before(now.Add(d))
}

// alone handles req for a group of one node, and reports whether it did.
//
// If the sender is idle, the call runs in the caller's goroutine, which saves two
// goroutine switches. Its deadline is then the node timeout. If ctx would end before
// that, the sender makes the call instead: its deadline is late enough to learn what the
// call has done, although the caller no longer waits for it.
func (a *Attempt) alone(ctx context.Context, req request) bool {
	if len(a.group.members) != 1 {
		return false
	}
	a.mu.Lock()
	if a.states == nil || a.states[0].busy {
		a.mu.Unlock()
		return false
	}
	s := a.states[0]
	if req.kind == releasing {
		s.track(req)
	}
	if !s.prepare(req, req.round.start) {
		s.rest()
		a.mu.Unlock()
		return true
	}
	if endsWithin(ctx, req.timeout, req.round.start) || !s.member.sender.Claim(&s.item, req.round.start) {
		s.submit(req.round.start)
		a.mu.Unlock()
		return true
	}
	s.Leave()
	op := s.item.Op
	a.mu.Unlock()
	if ctx == context.Background() { // it cannot end, so calls can share another context
		ctx = a.group.shared.Context(req.timeout, req.round.start)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, req.timeout)
		defer cancel()
	}
	result := op.Do(ctx, s.member.node)
	s.member.sender.Yield(&s.item, result, req.round.start, time.Now())
	return true
}
