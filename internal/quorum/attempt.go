package quorum

import (
	"context"
	"slices"
	"sync"
	"time"
)

// An Attempt is one token tried on every node of a group. It is made by
// [Group.Acquire], or by [Group.Adopt] for a token that was tried elsewhere. Its
// methods may be called concurrently.
type Attempt struct {
	group      *Group
	key, token string

	// Of an attempt that waits in a line, where it is to be called.
	line    *line
	inbox   *inbox
	asked   time.Time // when its caller began to wait
	ttl     time.Duration
	timeout time.Duration

	voting *voting // for its fencing token; nil if it is to have none

	mu    sync.Mutex
	seats []seat
	gone  bool    // an extension found that a quorum does not have it
	until Instant // when the lease of one that won in a line ends; zero: it has ended
	queue string  // the key of the queue, once it is needed; "": it has none
	named bool    // queue is known

	// The keys and arguments of a release without a ticket, once they are needed.
	plain struct {
		keys [2]string
		room [3]string
		args []string // in room
	}

	// Room for the rounds that every attempt has, which would else be most of what
	// a lock allocates. Each is used for one round, and its votes do not change
	// once that is decided: they belong to the caller then, as a Result.
	acquired, released round
}

// Acquire tries token on every node, with a lifetime of ttl, which is whole
// milliseconds. It returns with the verdict, at the latest after timeout, which
// is how long it waits for a node, or when ctx ends. Unless it won, the token is
// taken back from wherever it may be, in the background.
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

// Adopt returns the attempt of a token that was acquired elsewhere, by another
// process perhaps, without I/O. Life is how long a key with that token can
// live from now, so how long its deletion is worth trying.
func (g *Group) Adopt(key, token string, life time.Duration) *Attempt {
	a := g.attempt(key, token)
	now := time.Now()
	for i := range a.seats {
		a.seats[i].token = held
		a.seats[i].mayLive(life, false, now)
	}
	return a
}

func (g *Group) attempt(key, token string) *Attempt {
	n := len(g.members)
	a := &Attempt{group: g, key: key, token: token, seats: make([]seat, n)}
	votes := make([]Vote, 2*n)
	a.acquired.votes, a.released.votes = votes[:n:n], votes[n:]
	for i := range a.seats {
		s := &a.seats[i]
		s.attempt, s.member, s.index = a, g.members[i].of(key), i
	}
	return a
}

// Extend lets the token live for at least ttl more on every node that has it.
// It returns as Acquire does. It never makes the life of a key shorter, nor
// brings one back.
func (a *Attempt) Extend(ctx context.Context, ttl, timeout time.Duration) Result {
	return a.round(ctx, request{kind: extending, ttl: ttl, timeout: timeout})
}

// Release deletes the token from every node that has it or may have it. It
// returns as Acquire does; what is not deleted by then goes on in the
// background until it is, or until no key of the token can be alive.
// A ctx that has ended already does not shorten the wait.
func (a *Attempt) Release(ctx context.Context, timeout time.Duration) Result {
	defer a.group.lines.release(a)
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if a.group.releases.enter(ctx) {
		defer a.group.releases.leave()
	}
	return a.round(ctx, request{kind: releasing, timeout: timeout})
}

// Abandon releases the token in the background.
func (a *Attempt) Abandon() {
	defer a.group.lines.release(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clean(request{kind: releasing}, time.Now())
}

// clean asks every seat to delete the token.
func (a *Attempt) clean(req request, now time.Time) {
	for i := range a.seats {
		a.seats[i].clean(req, now)
	}
}

// Lasts says when the lease of a, which has won, ends unless it is extended again. Until
// then a takes every node that notifies it.
func (a *Attempt) Lasts(until Instant) {
	if a.line == nil { // nobody notifies it
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = until
}

// Lose says that the lease of a has ended though a was not released. From then on it takes
// no node. What the nodes still have of it is for Release to delete, and to count.
func (a *Attempt) Lose() {
	if a.line == nil {
		return
	}
	a.Lasts(Instant{})
	a.group.lines.lose(a)
}

// lacks reports whether the token is not on node i and will not come there.
func (a *Attempt) lacks(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seats[i].token == absent
}

// join asks node i, which has called, for an attempt that has won without it: the more
// nodes have a lock, the more of them may fail. It reports whether a has use for the
// call, or will settle it when it is released: not if it is being released, and not if
// its lease has ended, because it would take the node from the next holder.
func (a *Attempt) join(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.seats[i]
	if s.released.Load() || a.until.Past(a.group.cfg.Clock.Now()) {
		return false
	}
	// A rejoin that is under way names no ticket, so the node refuses it while the lock is
	// reserved for us.
	rejoins := s.busy && isRejoin(s.current) && !slices.ContainsFunc(s.queue, isJoin)
	if (s.token == absent || rejoins) && !s.rejoin.bars(time.Now()) {
		s.ask(request{kind: acquiring, joins: true, ttl: a.ttl, timeout: a.timeout}, time.Now())
	}
	return true
}

// quit has the ticket taken out of the queue of node i.
func (a *Attempt) quit(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seats[i].clean(request{kind: releasing}, time.Now())
}

// newRound returns a round that begins now.
func (a *Attempt) newRound(k kind) *round {
	a.mu.Lock()
	defer a.mu.Unlock()
	var r *round
	switch {
	case k == acquiring:
		r = &a.acquired // there is no other
	case k == releasing && a.released.kind == 0:
		r = &a.released
	default:
		r = &round{votes: make([]Vote, len(a.seats))}
	}
	r.kind, r.need, r.start = k, a.group.need, time.Now()
	return r
}

// round asks every seat for req and waits for the verdict.
func (a *Attempt) round(ctx context.Context, req request) Result {
	r := a.newRound(req.kind)
	req.round = r
	alone := a.alone(ctx, req)

	a.mu.Lock()
	if !alone {
		if req.kind == releasing {
			a.clean(req, r.start)
		} else {
			for i := range a.seats {
				a.seats[i].ask(req, r.start)
			}
		}
	}
	var p *patience
	if r.verdict == Undecided {
		p = a.group.vigil.begin(r.start, req.timeout)
		r.decided = p.news
	}
	a.mu.Unlock()

	if p != nil {
		if done := ctx.Done(); done == nil { // which is common, and costs less
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
		a.group.vigil.end(p)
	}
	ctxErr := ended(ctx)
	switch {
	case r.verdict == Won || r.verdict == Lost || r.verdict == Gone:
		ctxErr = nil // the nodes decided
	case r.verdict == Undecided && ctxErr != nil:
		r.cut()
	case r.verdict == Undecided:
		r.expire(a.late(req.timeout))
	}
	return r.result(ctxErr)
}

// ended returns the error of a context that has ended. The deadline counts as
// soon as it has passed: a driver that returns by it can be ahead of the timer
// that ends the context.
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

// alone asks the seat where there is one node, and reports whether it did. If the
// sender is idle it does the call in the caller's goroutine, which saves two changes
// of goroutine. The call's deadline is then the node timeout. If ctx ends before that, the
// sender does the call: its deadline is late enough for what the call has done to be known in
// the end, though the caller does not wait for it.
func (a *Attempt) alone(ctx context.Context, req request) bool {
	if len(a.seats) != 1 {
		return false
	}
	s := &a.seats[0]
	a.mu.Lock()
	if s.busy {
		a.mu.Unlock()
		return false
	}
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
	if ctx == context.Background() { // which says nothing, so that one serves all
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
