package quorum

import (
	"context"
	"sync"
	"time"
)

// An Attempt is one token tried on every node of a group. It is made by
// [Group.Acquire], or by [Group.Adopt] for a token that was tried elsewhere. Its
// methods may be called concurrently.
type Attempt struct {
	group      *Group
	key, token string

	mu    sync.Mutex
	seats []seat
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
	for i := range a.seats {
		a.seats[i].token = held
		a.seats[i].mayLive(life, false)
	}
	return a
}

func (g *Group) attempt(key, token string) *Attempt {
	a := &Attempt{group: g, key: key, token: token, seats: make([]seat, len(g.lanes))}
	for i := range a.seats {
		s := &a.seats[i]
		s.attempt, s.lane, s.index = a, g.lanes[i].of(key), i
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
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	return a.round(ctx, request{kind: releasing, timeout: timeout})
}

// Abandon releases the token in the background.
func (a *Attempt) Abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clean(request{kind: releasing})
}

// clean asks every seat to delete the token.
func (a *Attempt) clean(req request) {
	for i := range a.seats {
		a.seats[i].track()
		a.seats[i].ask(req)
	}
}

// round asks every seat for req and waits for the verdict.
func (a *Attempt) round(ctx context.Context, req request) Result {
	r := &round{kind: req.kind, need: a.group.need, start: time.Now(), votes: make([]Vote, len(a.seats))}
	req.round = r
	alone := a.alone(ctx, req)

	a.mu.Lock()
	if !alone {
		if req.kind == releasing {
			a.clean(req)
		} else {
			for i := range a.seats {
				a.seats[i].ask(req)
			}
		}
	}
	if r.verdict == Undecided {
		r.decided = make(chan struct{})
	}
	a.mu.Unlock()

	if r.decided != nil {
		timer := time.NewTimer(req.timeout - time.Since(r.start))
		defer timer.Stop()
		select {
		case <-r.decided:
		case <-timer.C:
		case <-ctx.Done():
		}
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	ctxErr := ended(ctx)
	switch {
	case r.verdict == Won || r.verdict == Lost || r.verdict == Gone:
		ctxErr = nil // the nodes decided
	case r.verdict == Undecided && ctxErr != nil:
		r.verdict = r.judge(true)
	case r.verdict == Undecided:
		r.expire()
	}
	return Result{Verdict: r.verdict, Votes: r.votes, Elapsed: time.Since(r.start), CtxErr: ctxErr}
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

// alone does the call in the caller's goroutine where there is one node and
// its lane is idle, which saves two changes of goroutine, and reports whether it
// did. The call's deadline is then the sooner of the caller's and the node
// timeout.
func (a *Attempt) alone(ctx context.Context, req request) bool {
	if len(a.seats) != 1 {
		return false
	}
	s := &a.seats[0]
	a.mu.Lock()
	if s.busy || !s.lane.claim() {
		a.mu.Unlock()
		return false
	}
	if req.kind == releasing {
		s.track()
	}
	send := s.prepare(req)
	op := s.op
	a.mu.Unlock()
	if !send {
		s.lane.yield(nil)
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, req.timeout)
	defer cancel()
	result := op.Do(ctx, s.lane.node)
	s.lane.yield(result.Err)
	s.complete(result, true)
	return true
}
