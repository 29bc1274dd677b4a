package redlock

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A call is one operation of a Locker that is under way, with its settings and its
// results so far.
type call struct {
	locker   *Locker
	op       string
	key      string
	fullKey  string
	settings callSettings
	fencing  *attempt.Fencing // nil without fencing
	permits  string           // the name of the permits, with slots
	slots    *quorum.Slots    // nil: the lock has no slots
	shared   bool             // it locks to read, or is about a lock that does
	start    clock.Instant
	tries    int
	ctx      context.Context // for hooks; set by begin
	waited   bool            // Waits was called
	complete round.Verdict   // of the last attempt that was not cut off
	last     round.Result
	rounds   []Report // of the last rounds that failed

	automatic bool // an extension that no method was called for
}

func (l *Locker) newCall(op, key string, s callSettings) *call {
	return &call{locker: l, op: op, key: key, fullKey: l.settings.prefix + key, settings: s, start: l.clock.Now()}
}

// takeCall returns an empty call that may outlive the caller's stack.
func (l *Locker) takeCall() *call {
	if c, ok := l.calls.Get().(*call); ok {
		return c
	}
	return new(call)
}

// done ends c, which is from takeCall, with these results. A call in which a hook panics does
// not get here, and is left to the garbage collector.
func (c *call) done(lock *Lock, err error) (*Lock, error) {
	c.free()
	return lock, err
}

// free takes back a call from takeCall, to be used again. Nothing may refer to it any more.
func (c *call) free() {
	calls := &c.locker.calls
	*c = call{}
	calls.Put(c)
}

// limit returns a copy of ctx that ends when [WithWait] is over. The caller must cancel
// it.
func (c *call) limit(ctx context.Context) (limited context.Context, cancel context.CancelFunc) {
	if d := c.settings.wait; d > 0 {
		return ending.Limit(ctx, c.start.Time(), d)
	}
	return ctx, func() {}
}

// wait makes attempts until it holds the lock or has to give up.
func (c *call) wait(ctx context.Context) (*hold, error) {
	c.begin(ctx)
	lock, err := c.acquire(ctx)
	if c.locker.settings.hooks.Locked != nil {
		c.locked(lock, err)
	}
	if err != nil {
		return nil, err
	}
	lock.startExtending(c.settings)
	return lock, nil
}

// locked calls the hook Locked. If the hook panics, the caller does not get the lock, so
// locked releases it.
func (c *call) locked(lock *hold, err error) {
	told := false
	defer func() {
		if !told && lock != nil {
			lock.lease.End(ErrReleased)
			lock.lease.Attempt().Abandon()
		}
	}()
	c.tell(c.locker.settings.hooks.Locked, err)
	told = true
}

// defaultRetry is the pace of a polling caller without a policy.
var defaultRetry = Exponential(8*time.Millisecond, 250*time.Millisecond).Jitter()

// pace returns the policy of the call.
func (c *call) pace() RetryPolicy {
	retry := c.settings.retry
	if retry.delay == nil {
		retry.delay = defaultRetry.delay
	}
	return retry
}

// request returns what the core needs to know of the call.
func (c *call) request() quorum.Request {
	s := &c.locker.settings
	ttl := s.lease(c.settings)
	return quorum.Request{
		Key: cmp.Or(c.permits, c.fullKey), Slots: c.slots, Shared: c.shared, Fencing: c.fencing, TTL: ttl, Timeout: s.Timeout(ttl), Start: c.start,
		Queue: !c.settings.polls(), Polls: c.settings.retry.queue, Patience: cmp.Or(c.settings.patience, c.settings.ttl), Caller: c,
	}
}

// acquire waits for the lock for as long as [WithWait] allows. That does not limit the
// first attempt.
func (c *call) acquire(ctx context.Context) (*hold, error) {
	limited, cancel := c.limit(ctx)
	defer cancel()
	r := c.request()
	r.First = ctx
	held, res := c.locker.group.Lock(limited, r)
	switch res.Verdict {
	case round.Won:
	case round.Closed:
		return nil, ErrClosed
	default:
		return nil, c.failed(res.Ctx, res)
	}
	if c.slots != nil { // from now on the call is about this slot
		c.fullKey = held.Key()
		c.key = strings.TrimPrefix(c.fullKey, c.locker.settings.prefix)
	}
	lock := newHold(ctx, c, held)
	if lock == nil {
		held.Abandon()
		return nil, ErrClosed
	}
	return lock, nil
}

// Token returns a new token.
func (c *call) Token() string { return proto.NewToken(c.settings.owner) }

// Attempted records the result of an attempt.
func (c *call) Attempted(res round.Result) {
	if res.CtxErr == nil {
		c.complete = res.Verdict
	}
	c.note(res.Ctx, res)
}

// Waits calls the hook Waiting when the call waits for the first time.
func (c *call) Waits(_ context.Context, why round.Result) {
	if c.waited {
		return
	}
	c.waited = true
	if hook := c.locker.settings.hooks.Waiting; hook != nil {
		c.tell(hook, c.failed(why.Ctx, why))
	}
}

// Pause returns how long the call pauses, and whether it goes on. The policy has no say
// over a caller in the queue.
func (c *call) Pause(queued bool) (time.Duration, bool) {
	if queued {
		return defaultRetry.pause(c.tries)
	}
	return c.pace().pause(c.tries)
}

// release deletes the token of a.
func (c *call) release(ctx context.Context, a *attempt.Attempt) error {
	return c.released(ctx, a.Release(ctx, c.locker.settings.Timeout(c.settings.ttl)))
}

// released returns the error of a release with the result res.
func (c *call) released(ctx context.Context, res round.Result) error {
	c.note(ctx, res)
	if res.Verdict == round.Won {
		return nil
	}
	return c.failed(ctx, res)
}
