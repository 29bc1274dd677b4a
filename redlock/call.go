package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/quorum"
)

// A call is one operation of a Locker that is under way, with its settings and its
// results so far.
type call struct {
	locker   *Locker
	op       string
	key      string
	fullKey  string
	settings callSettings
	fencing  *quorum.Fencing // nil without fencing
	start    quorum.Instant
	tries    int
	waited   bool // the hook Waiting was called
	last     quorum.Result
	rounds   []Report // of the last rounds that failed

	// When this call first found too many nodes unavailable, and in how many attempts
	// after that. These are fields because a closure over variables would cost each call
	// three allocations, and most calls never wait.
	unavailable time.Time
	failures    int
}

func (l *Locker) newCall(op, key string, s callSettings) *call {
	return &call{locker: l, op: op, key: key, fullKey: l.settings.prefix + key, settings: s, start: l.clock.Now()}
}

// timerSlack is how late the timer of a context may be.
const timerSlack = 100 * time.Millisecond

// endOf returns err, with which ctx ended, joined with the cause that the caller gave for
// it, if any.
//
// A deadline counts as soon as it has passed, but the timer that ends ctx may be late. A
// caller that is told that ctx has ended may look at ctx next, so endOf waits until ctx
// has ended.
func endOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		late := time.NewTimer(timerSlack)
		defer late.Stop()
		select {
		case <-ctx.Done():
		case <-late.C: // a context that does not keep its own deadline
		}
	}
	cause := context.Cause(ctx)
	if over, ok := cause.(waitOver); ok && err != nil {
		return over
	}
	if err != nil && cause != nil && cause != err {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// waitOver ends the wait of a call whose [WithWait] is over. It is not the error of a
// ctx, because the caller's ctx has not ended.
type waitOver struct{ limit time.Duration }

func (e waitOver) Error() string { return fmt.Sprintf("waited for %v", e.limit) }

// limit returns a copy of ctx that ends when [WithWait] is over. The caller must cancel
// it.
func (c *call) limit(ctx context.Context) (limited context.Context, cancel context.CancelFunc) {
	if d := c.settings.wait; d > 0 {
		return context.WithDeadlineCause(ctx, c.start.Time().Add(d), waitOver{d})
	}
	return ctx, func() {}
}

// wait makes attempts until it holds the lock or has to give up.
func (c *call) wait(ctx context.Context) (*Lock, error) {
	lock, err := c.acquire(ctx)
	if c.locker.settings.hooks.Locked != nil {
		c.locked(ctx, lock, err)
	}
	if err != nil {
		return nil, err
	}
	lock.startExtending()
	return lock, nil
}

// locked calls the hook Locked. If the hook panics, the caller does not get the lock, so
// locked releases it.
func (c *call) locked(ctx context.Context, lock *Lock, err error) {
	told := false
	defer func() {
		if !told && lock != nil {
			lock.end(ErrReleased)
			lock.attempt.Abandon()
		}
	}()
	c.tell(ctx, c.locker.settings.hooks.Locked, err)
	told = true
}

// waits calls the hook Waiting, unless it was called before. err is why the call waits.
func (c *call) waits(ctx context.Context, err error) {
	if c.waited {
		return
	}
	c.waited = true
	c.tell(ctx, c.locker.settings.hooks.Waiting, err)
}

// defaultRetry is the pace of a polling caller without a policy.
var defaultRetry = Exponential(8*time.Millisecond, 250*time.Millisecond).Jitter()

// pace returns the policy of the call. standard is true if none was set. The call then
// gives up when nodes have been unavailable for its patience, but waits for the end of a
// quarantine.
func (c *call) pace() (retry RetryPolicy, standard bool) {
	retry = c.settings.retry
	standard = !c.settings.polls()
	if retry.delay == nil {
		retry.delay = defaultRetry.delay
	}
	return retry, standard
}

// acquire waits for the lock for as long as [WithWait] allows. That does not limit the
// first attempt.
func (c *call) acquire(ctx context.Context) (*Lock, error) {
	limited, cancel := c.limit(ctx)
	defer cancel()
	return c.compete(limited, ctx)
}

// compete makes a plain attempt, and then waits as the settings say: in the local queue
// and in the queues on the nodes, or at the pace of the caller's own policy. An attempt
// that it makes without having waited uses the ctx first.
func (c *call) compete(ctx, first context.Context) (*Lock, error) {
	caller := first
	retry, standard := c.pace()
	var (
		waiter *quorum.Waiter
		taken  bool        // the last complete attempt found the lock taken
		turn   quorum.Turn // for a call that was not notified
	)
	join := func() (err error) {
		if waiter == nil && standard {
			waiter, err = c.locker.group.Join(ctx, c.fullKey, c.start.Time(), c.left)
		}
		return err
	}
	defer func() {
		if waiter != nil {
			waiter.Leave()
		}
	}()
	if standard && c.locker.group.Contended(c.fullKey) {
		if c.locker.settings.hooks.Waiting != nil {
			c.waits(caller, c.behind(ctx, nil))
		}
		if err := join(); err == quorum.ErrAway {
			return nil, c.away()
		} else if err != nil {
			return nil, c.behind(ctx, err)
		}
		if c.locker.closed.Load() { // while the call waited behind others
			return nil, ErrClosed
		}
	}
	start := c.start
	if waiter != nil { // the call may have waited behind others for long
		start = c.locker.clock.Now()
	}
	if waiter != nil {
		first = ctx
	}
	for {
		lock, res, err := c.try(first, waiter, start)
		first = ctx
		turn.End(res)
		turn = quorum.Turn{}
		if err == nil && lock == nil {
			return nil, ErrClosed
		}
		if err == nil {
			return lock, nil
		}
		if res.CtxErr != nil {
			if taken { // ctx cut this attempt off, so the previous one counts
				err.class = ErrTaken
			}
			return nil, err
		}
		if res.Permanent(c.locker.group.Need()) {
			return nil, err
		}
		taken = err.class == ErrTaken
		switch {
		case taken || res.Quarantined(c.locker.group.Need()):
			c.unavailable, c.failures = time.Time{}, 0
		case c.unavailable.IsZero():
			c.unavailable = time.Now()
		default:
			c.failures++
		}
		if standard && !c.unavailable.IsZero() && c.left() <= 0 {
			return nil, err
		}
		pause, again := retry.pause(c.tries)
		if !again {
			return nil, err
		}
		c.waits(caller, err)
		var ctxErr error
		switch {
		case waiter != nil:
			ctxErr = waiter.Wait(ctx, pause, 2*res.Elapsed)
		case standard && taken:
			// Then try at once, because the first in the local queue may have been notified.
			if ctxErr = join(); ctxErr == nil {
				turn, ctxErr = c.locker.group.Turn(ctx, c.left)
			}
		default:
			ctxErr = sleep(ctx, pause, 2*res.Elapsed)
			if ctxErr == nil && standard {
				turn, ctxErr = c.locker.group.Turn(ctx, c.left)
			}
		}
		if ctxErr == quorum.ErrAway && taken { // other callers have found the outage
			return nil, c.away()
		}
		if ctxErr == quorum.ErrAway {
			err.Elapsed = c.elapsed()
			return nil, err
		}
		if ctxErr != nil {
			err.ctxErr, err.Elapsed = endOf(ctx, ctxErr), c.elapsed()
			return nil, err
		}
		if c.locker.closed.Load() {
			turn.End(quorum.Result{})
			return nil, ErrClosed
		}
		start = c.locker.clock.Now()
	}
}

// manyFailures is the number of attempts in a row that found too many nodes unavailable,
// after which it does not matter that the nodes answer other callers.
const manyFailures = 16

// left returns how long too many nodes may remain unavailable before the call gives up.
// It is positive while they are available. An outage counts from when any call of this
// process has found it, or from the beginning of this call if that is later. So callers
// that wait behind each other do not give up one after another.
func (c *call) left() time.Duration {
	patience := c.settings.patience
	if patience == 0 {
		patience = c.settings.ttl
	}
	since := c.locker.group.Outage(c.fullKey)
	if c.failures >= manyFailures && (since.IsZero() || c.unavailable.Before(since)) {
		since = c.unavailable
	}
	if since.IsZero() {
		return max(patience, time.Second)
	}
	if begun := c.start.Time(); since.Before(begun) {
		since = begun
	}
	return patience - time.Since(since)
}

// try makes one attempt, with a new token, and as waiter if that is not nil. It returns
// neither a lock nor an error if a Shutdown came in between.
func (c *call) try(ctx context.Context, waiter *quorum.Waiter, now quorum.Instant) (*Lock, quorum.Result, *QuorumError) {
	l := c.locker
	ttl := l.settings.lease(c.settings)
	token := newToken(c.settings.owner)
	var (
		attempt *quorum.Attempt
		res     quorum.Result
	)
	switch timeout := l.settings.timeout(ttl); {
	case waiter != nil && c.fencing != nil:
		attempt, res = waiter.AcquireFenced(ctx, c.fencing, token, ttl, timeout)
	case waiter != nil:
		attempt, res = waiter.Acquire(ctx, token, ttl, timeout)
	case c.fencing != nil:
		attempt, res = c.fencing.Acquire(ctx, token, ttl, timeout)
	default:
		attempt, res = l.group.Acquire(ctx, c.fullKey, token, ttl, timeout)
	}
	c.note(res)
	if res.Verdict == quorum.Unavailable && res.CtxErr == nil && !res.Quarantined(l.group.Need()) {
		l.group.Failed(c.fullKey, now.Time())
	}
	if res.Verdict != quorum.Won {
		return nil, res, c.failed(ctx, res)
	}
	begun := now
	until := now.Add(ttl - l.settings.driftOf(ttl))
	// Check the validity after the answers have come, and as late as possible, because the
	// process may have been paused in between.
	if now = l.clock.Now(); until.Past(now) {
		attempt.Abandon()
		return nil, res, c.late()
	}
	c.rounds = nil // free them, because the lock keeps c for as long as it lives
	lock := newLock(ctx, c, attempt, token, begun, now, until)
	if lock == nil {
		attempt.Abandon()
	}
	return lock, res, nil
}

// release deletes the token of attempt.
func (c *call) release(ctx context.Context, attempt *quorum.Attempt) error {
	res := attempt.Release(ctx, c.locker.settings.timeout(c.settings.ttl))
	c.note(res)
	if res.Verdict == quorum.Won {
		return nil
	}
	return c.failed(ctx, res)
}

// sleep waits for d. If ctx has a deadline before that, it waits until shortly before the
// deadline, so that there is time for a last attempt. If the deadline is nearer than
// shortly, or ctx ends, it returns ctx's error.
func sleep(ctx context.Context, d, shortly time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline) - max(shortly, time.Millisecond); left < d {
			if left <= 0 { // the last attempt was made
				<-ctx.Done()
				return ctx.Err()
			}
			d = left
		}
	}
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
