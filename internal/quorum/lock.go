package quorum

import (
	"context"
	"math"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/limit"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A Request is what [Group.Lock] and [Group.Resume] are asked for.
type Request struct {
	Key     string           // or the name of permits
	Slots   *Slots           // nil: one caller at a time may hold the lock
	Shared  bool             // hold it beside others that only read: see Nodes.CanShare; without Slots and Fencing
	Fencing *attempt.Fencing // from Group.Fencing; nil: no fencing token
	TTL     time.Duration    // whole milliseconds
	Timeout time.Duration    // how long to wait for a node
	Start   clock.Instant    // when the call began

	// Queue makes Lock wait in the queues while the lock is taken, until it is notified.
	// Without Queue it asks again after each pause.
	Queue bool

	// Polls is how long Lock polls without Queue, counted from Start. After that it waits
	// as if Queue had been set at Start. 0 means always.
	Polls time.Duration

	// Patience is how long too many nodes may remain unavailable before Lock gives up. It
	// has no effect without Queue.
	Patience time.Duration

	// First is the context of the first attempt, if Lock makes it without having waited.
	// The context of Lock should end with it. nil means the context of Lock.
	First context.Context

	Caller Caller
}

// A Caller decides, and is told, what [Group.Lock] leaves to its caller. Lock calls it on
// its own goroutine. Resume does not use it.
type Caller interface {
	// Token returns the token for the next attempt. It must be new: never used before, for
	// any key.
	Token() string

	// Attempted is told the result of each attempt.
	Attempted(round.Result)

	// Waits is told before each wait why Lock waits: the result of the last attempt, or one
	// with the verdict Behind. ctx is the First of the Request.
	Waits(ctx context.Context, why round.Result)

	// Pause returns how long to wait after the attempts so far if nobody notifies Lock, and
	// whether to make another attempt at all. queued says whether Lock queues.
	Pause(queued bool) (pause time.Duration, again bool)
}

// Held is a lock that is held.
type Held struct {
	*attempt.Attempt
	Begun clock.Instant // before its first request was sent
	Since clock.Instant // when it was known to be held
	Until clock.Instant // end of the validity
}

// Lock makes attempts until it holds the lock, or has to give up. It waits as the Request
// says: in the local queue and in the queues on the nodes, or for a pause.
//
// The verdict is Won if it holds the lock. Otherwise nothing stays locked: what the nodes
// granted is deleted in the background. The verdict then is Lost, Unavailable or Late, as
// that of the last attempt, or Behind, Away or Closed. If a context ended the call, Ctx
// and CtxErr say so, and an attempt that was cut off does not count if the one before it
// was Lost.
func (g *Group) Lock(ctx context.Context, r Request) (Held, round.Result) {
	if r.First == nil {
		r.First = ctx
	}
	if !r.Queue || !g.behind(&r) {
		h, res := g.try(r.First, &r, nil, r.Start)
		if res.Verdict == round.Won {
			return h, res
		}
		c := &contender{Request: r, group: g} // not before, because most calls never wait
		defer c.leave()
		return c.compete(ctx, res)
	}
	c := &contender{Request: r, group: g}
	defer c.leave()
	r.Caller.Waits(r.First, round.Result{Verdict: round.Behind})
	if res, first := c.lineUp(ctx); !first {
		return Held{}, res
	}
	h, res := c.attempt(ctx)
	if res.Verdict == round.Won {
		return h, res
	}
	return c.compete(ctx, res)
}

// Resume extends a lock that was acquired elsewhere with that token, and with that
// fencing token if the Request has Fencing. It makes one attempt. The verdict is Won, Gone
// or Unavailable like that of [attempt.Attempt.Extend], or Late. If it is not Won, the lock is left
// as it was, or extended on some nodes.
func (g *Group) Resume(ctx context.Context, r Request, token string, fence uint64) (Held, round.Result) {
	a := g.Adopt(r.Key, token, r.TTL)
	if r.Shared {
		a.Share()
	}
	if r.Fencing != nil {
		a.Resume(r.Fencing, r.TTL, fence)
	}
	answered := false
	defer func() { // if a hook panics, nobody gets the lock
		if !answered {
			a.Abandon()
		}
	}()
	res := a.Extend(ctx, r.TTL, r.Timeout)
	answered = true
	return g.hold(a, res, r.TTL, r.Start)
}

// try makes one attempt, which begins at start, and as w unless that is nil.
func (g *Group) try(ctx context.Context, r *Request, w *waiter, start clock.Instant) (Held, round.Result) {
	var (
		a   *attempt.Attempt
		res round.Result
	)
	switch {
	case w != nil:
		a, res = w.acquire(ctx, r.Fencing, r.Caller.Token(), r.TTL, r.Timeout)
	case r.Slots != nil:
		a, res, start = g.trySlots(ctx, r, start)
	default:
		a, res = g.plain(ctx, r, r.Key)
	}
	return g.tried(ctx, r, a, res, start)
}

// TryAll makes one attempt for each of the requests, which are for different keys and have
// the same TTL and Timeout. It asks each node for all keys in one call. Each result is what
// Lock would return after one attempt of a call that does not wait.
func (g *Group) TryAll(ctx context.Context, requests []Request) ([]Held, []round.Result) {
	if len(requests) == 0 {
		return nil, nil
	}
	attempts := make([]*attempt.Attempt, len(requests))
	for i, r := range requests {
		attempts[i] = attempt.New(g.Nodes, r.Key, r.Caller.Token())
		attempts[i].Vote(r.Fencing, r.TTL)
	}
	told := false
	defer func() { // if a hook panics, nobody gets the locks
		if !told {
			for _, a := range attempts {
				a.Abandon()
			}
		}
	}()
	results := g.AcquireAll(ctx, attempts, requests[0].TTL, requests[0].Timeout)
	held := make([]Held, len(requests))
	for i := range requests {
		held[i], results[i] = g.tried(ctx, &requests[i], attempts[i], results[i], requests[i].Start)
	}
	told = true
	return held, results
}

// tried handles the result of an attempt that began at start.
func (g *Group) tried(ctx context.Context, r *Request, a *attempt.Attempt, res round.Result, start clock.Instant) (Held, round.Result) {
	if res.Verdict == round.Unavailable && res.CtxErr == nil && !res.Quarantined(g.Need()) {
		g.noteOutage(r.Key, start.Time())
	}
	h, res := g.hold(a, res, r.TTL, start)
	if res.Verdict == round.Won && r.Slots != nil {
		r.Slots.won(a.Key())
	}
	if res.Verdict == round.Late {
		a.Abandon()
	}
	if res.CtxErr != nil {
		res.Ctx = ctx
	}
	told := false
	defer func() { // if a hook panics, nobody gets the lock
		if !told && res.Verdict == round.Won {
			a.Abandon()
		}
	}()
	r.Caller.Attempted(res)
	told = true
	return h, res
}

// plain makes an attempt for key that does not wait in a queue.
func (g *Group) plain(ctx context.Context, r *Request, key string) (*attempt.Attempt, round.Result) {
	a := attempt.New(g.Nodes, key, r.Caller.Token())
	if r.Shared {
		a.Share()
	}
	a.Vote(r.Fencing.Of(key), r.TTL)
	return a, a.Acquire(ctx, r.TTL, r.Timeout)
}

// hold returns the lock of a, if res says that a round that began at start has won it for
// ttl. The verdict becomes Late if the validity is over. This is checked after the answers
// have come, because the process may have been paused in between.
func (g *Group) hold(a *attempt.Attempt, res round.Result, ttl time.Duration, start clock.Instant) (Held, round.Result) {
	if res.Verdict != round.Won {
		return Held{}, res
	}
	until, now := start.Add(ttl-g.Config.Drift(ttl)), g.Config.Clock.Now()
	if until.Past(now) {
		res.Verdict = round.Late
		return Held{}, res
	}
	a.Lasts(until)
	return Held{Attempt: a, Begun: start, Since: now, Until: until}, res
}

// A contender is a call of Lock that has to wait.
type contender struct {
	Request
	group  *Group
	waiter *waiter     // nil: not in the local queue
	permit *limit.Turn // for the next attempt, if it was not notified
	taken  bool        // the last complete attempt found the lock taken

	// When the call first found too many nodes unavailable, and in how many attempts after
	// that.
	unavailable time.Time
	failures    int
}

// leave leaves the local queue, and gives up a turn that was not used.
func (c *contender) leave() {
	c.permit.Leave()
	if c.waiter != nil {
		c.waiter.leave()
	}
}

// join enters the local queue, unless c is in it, and returns when c is its first.
func (c *contender) join(ctx context.Context) (err error) {
	if c.waiter == nil {
		if c.waiter, err = c.group.join(ctx, c.localName(), c.Start.Time(), c.left); err == nil {
			ls := &c.group.locals
			ls.mu.Lock()
			c.waiter.slots = c.Slots
			ls.mu.Unlock()
		}
	}
	return err
}

// lineUp waits behind the other callers of the local queue before the first attempt. It
// returns the result of the call if c does not become the first.
func (c *contender) lineUp(ctx context.Context) (res round.Result, first bool) {
	switch err := c.join(ctx); {
	case err == limit.ErrAway:
		return round.Result{Verdict: round.Away}, false
	case err != nil:
		return round.Result{Verdict: round.Behind, Ctx: ctx, CtxErr: err}, false
	case c.group.Closed(): // meanwhile
		return round.Result{Verdict: round.Closed}, false
	}
	return round.Result{}, true
}

// attempt makes one attempt.
func (c *contender) attempt(ctx context.Context) (Held, round.Result) {
	h, res := c.group.try(ctx, &c.Request, c.waiter, c.group.Config.Clock.Now())
	c.permit.End(res.Answer())
	c.permit = nil
	if res.Verdict == round.Late {
		c.waiter = nil // it has won, and so it has left the queues
	}
	return h, res
}

// compete goes on after an attempt with the result res, which has not won.
func (c *contender) compete(ctx context.Context, res round.Result) (Held, round.Result) {
	for {
		if res.CtxErr != nil {
			if c.taken {
				res.Verdict = round.Lost
			}
			return Held{}, res
		}
		c.note(res)
		if res.Permanent(c.group.Need()) || c.Queue && !c.unavailable.IsZero() && c.left() <= 0 {
			return Held{}, res
		}
		polls := c.pollsFor()
		pause, again := c.Caller.Pause(c.Queue)
		if !again {
			return Held{}, res
		}
		if !c.Queue {
			pause = min(pause, polls)
		}
		c.Caller.Waits(c.First, res)
		switch err := c.wait(ctx, pause, 2*res.Elapsed); {
		case err == limit.ErrAway && c.taken: // other callers have found the outage
			return Held{}, round.Result{Verdict: round.Away}
		case err == limit.ErrAway:
			return Held{}, res
		case err != nil:
			res.Ctx, res.CtxErr = ctx, err
			return Held{}, res
		case c.group.Closed():
			return Held{}, round.Result{Verdict: round.Closed}
		}
		var h Held
		if h, res = c.attempt(ctx); res.Verdict == round.Won {
			return h, res
		}
	}
}

// pollsFor returns how much longer c polls. It turns a contender that has polled for long
// enough into one that queues.
func (c *contender) pollsFor() time.Duration {
	if c.Queue || c.Polls == 0 {
		return math.MaxInt64
	}
	left := c.Polls - time.Since(c.Start.Time())
	c.Queue = left <= 0
	return left
}

// note notes what a complete attempt says about the nodes.
func (c *contender) note(res round.Result) {
	c.taken = res.Verdict == round.Lost
	switch {
	case c.taken || res.Quarantined(c.group.Need()):
		c.unavailable, c.failures = time.Time{}, 0
	case c.unavailable.IsZero():
		c.unavailable = time.Now()
	default:
		c.failures++
	}
}

// wait waits until another attempt is worthwhile and allowed, for pause if nobody notifies
// c. It returns ctx's error if ctx ends, or less than shortly before its deadline. It
// returns limit.ErrAway if no time is left to c.
func (c *contender) wait(ctx context.Context, pause, shortly time.Duration) (err error) {
	if c.waiter != nil {
		return c.waiter.wait(ctx, pause, shortly)
	}
	if c.Queue && c.taken {
		// Then try at once, because the first in the local queue may have been notified.
		err = c.join(ctx)
	} else {
		err = Sleep(ctx, pause, shortly)
	}
	if err == nil && c.Queue {
		c.permit, err = c.group.budget.Wait(ctx, c.left)
	}
	return err
}

// manyFailures is the number of attempts in a row that found too many nodes unavailable,
// after which it does not matter that the nodes answer other callers.
const manyFailures = 16

// left returns how long too many nodes may remain unavailable before the call gives up.
// It is positive while they are available. An outage counts from when any call of this
// process has found it, or from the beginning of this call if that is later. So callers
// that wait behind each other do not give up one after another.
func (c *contender) left() time.Duration {
	since := c.group.outageSince(c.Key)
	if c.failures >= manyFailures && (since.IsZero() || c.unavailable.Before(since)) {
		since = c.unavailable
	}
	if since.IsZero() {
		return max(c.Patience, time.Second)
	}
	if begun := c.Start.Time(); since.Before(begun) {
		since = begun
	}
	return c.Patience - time.Since(since)
}
