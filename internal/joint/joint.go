package joint

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A Key is one key of a [Call].
type Key interface {
	// Request returns what to ask for in an attempt that begins at start.
	Request(start clock.Instant) quorum.Request

	// Keep makes an attempt that has won a lock that the call holds. After an error the call
	// fails with it, and Keep has given the attempt back.
	Keep(ctx context.Context, won quorum.Held) (Lock, error)

	// Lost is told that the lock on the key has ended because of why. losses is how often the
	// call has lost one, including this one. The call fails with the error. If that is nil, it
	// gives back the key and all behind it, and acquires them again after the pause.
	Lost(ctx context.Context, why error, losses int) (pause time.Duration, err error)
}

// A Lock is the lock on a key that the call holds.
type Lock interface {
	Held

	// Tell calls the hooks of a lock that was acquired, unless it has done so before.
	Tell()

	// Preserve makes the lock extend itself until it is given back or the call is over.
	Preserve()

	// Stale reports whether the lock has to be extended before the call returns. waited says
	// whether the call has waited for a key.
	Stale(waited bool) bool

	// Extend makes a stale lock a fresh one.
	Extend(ctx context.Context) error

	// GiveBack gives the lock back in the background, because the call acquires it again, or
	// because it is over. ok is false for a lock that stays, because ctx held it before the
	// call and the call goes on. GiveBack calls no hook: tell, if not nil, does, and leaves a
	// lock that ctx held before.
	GiveBack(ctx context.Context, again bool) (tell func(), ok bool)
}

// A Call locks several keys. It is used once.
type Call struct {
	Group *quorum.Group
	Clock *clock.Clock
	Keys  []Key  // sorted
	Locks []Lock // by key; nil: the key is missing. At first those that ctx held before
	Once  bool   // it makes a single attempt

	// Results of Acquire.
	Waited bool      // it has waited, so some keys may have been acquired long ago
	Since  time.Time // when it had all keys, before it extended those that were stale

	awaited int    // the last key for which it waited because that was taken, or None
	unguard func() // ends the context of a wait that has failed; nil: there is none
}

// errLost says that a key was lost during the call, so that it has to be acquired again.
var errLost = errors.New("a key was lost")

// Acquire acquires the keys that are missing. limited is a copy of ctx that limits everything
// but the first attempt. The error is a [*Failure], or one of [Key.Keep] or [Key.Lost]. After
// an error, and if a hook panics, GiveBack must follow.
func (c *Call) Acquire(ctx, limited context.Context) error {
	c.awaited = None
	for asking, losses := ctx, 0; ; asking = limited {
		first, res, err := c.try(ctx, asking)
		switch {
		case err != nil:
		case first == None:
			if err = c.freshen(asking, limited); err == nil {
				return nil
			}
		case c.Once || res.CtxErr != nil:
			err = c.refused(first, res)
		default:
			err = c.wait(ctx, limited, first, res)
		}
		if err == errLost {
			losses++
			err = c.recover(ctx, limited, losses)
		}
		if err != nil {
			return err
		}
	}
}

// try makes one attempt at each missing key, all in one call of each node. It returns the
// first key that it does not get, and the result about that one, or None. It keeps what it
// gets before that key and gives back the rest.
//
// A key for which other callers of this process wait counts as refused. Neither it nor the
// keys behind it are asked for.
func (c *Call) try(ctx, asking context.Context) (first int, res round.Result, err error) {
	first = None
	asked, requests := make([]int, 0, len(c.Keys)), make([]quorum.Request, 0, len(c.Keys)) // asked: keys
	start := c.Clock.Now()
	for i, k := range c.Keys {
		if c.Locks[i] != nil {
			continue
		}
		r := k.Request(start)
		if !c.Once && r.Queue && c.Group.Contended(r.Key) {
			first, res = i, round.Result{Verdict: round.Behind}
			break
		}
		asked, requests = append(asked, i), append(requests, r)
	}
	won, results := c.Group.TryAll(asking, requests)
	refused := slices.IndexFunc(results, func(r round.Result) bool { return r.Verdict != round.Won })
	if refused >= 0 {
		first, res = asked[refused], results[refused]
	}
	for n, i := range asked {
		switch {
		case results[n].Verdict != round.Won:
		case refused >= 0 && n > refused || err != nil:
			won[n].Abandon()
		default:
			c.Locks[i], err = c.Keys[i].Keep(ctx, won[n])
		}
	}
	if err == nil {
		c.tell() // only now, because a hook may panic
	}
	return first, res, err
}

// wait waits until it has key i, which was refused with the result res. Meanwhile it
// extends what it holds. It returns errLost if it loses one of these.
func (c *Call) wait(ctx, limited context.Context, i int, res round.Result) (err error) {
	c.Waited = true
	if res.Verdict == round.Lost || res.Verdict == round.Behind {
		c.awaited = i
	}
	for _, lock := range c.Locks[:i] {
		lock.Preserve()
	}
	ending, cancel := context.WithCancel(limited)
	defer func() {
		if err == nil || err == errLost {
			cancel()
		} else { // the Failure names the context, and is still to be explained
			c.unguard = cancel
		}
	}()
	guard := NewContext(ending, c.Locks[:i])
	r := c.Keys[i].Request(c.Clock.Now())
	if !r.Queue {
		pause, again := r.Caller.Pause(false)
		if !again {
			return c.refused(i, res)
		}
		r.Caller.Waits(ctx, res)
		if err := quorum.Sleep(guard, pause, 2*res.Elapsed); err != nil {
			res.Ctx, res.CtxErr = guard, err
			return c.ended(limited, i, res)
		}
		r.Start = c.Clock.Now()
	}
	won, res := c.Group.Lock(guard, r)
	if res.Verdict != round.Won {
		return c.ended(limited, i, res)
	}
	if c.Locks[i], err = c.Keys[i].Keep(ctx, won); err != nil {
		return err
	}
	c.tell()
	return nil
}

// tell calls the hooks of the locks that were acquired since the last time.
func (c *Call) tell() {
	for _, lock := range c.Locks {
		if lock != nil {
			lock.Tell()
		}
	}
}

// lost returns the first key that was lost, or None.
func (c *Call) lost() int {
	return slices.IndexFunc(c.Locks, func(lock Lock) bool { return lock != nil && lock.Err() != nil })
}

// recover gives back the first key that was lost and all behind it, because the call may
// have to wait for it. It returns after a pause, so that keys that are lost again and
// again do not keep the nodes busy.
func (c *Call) recover(ctx, limited context.Context, losses int) error {
	i := c.lost()
	why := c.Locks[i].Err()
	pause, err := c.Keys[i].Lost(ctx, why, losses)
	if err != nil {
		return err
	}
	c.giveBack(ctx, i, true)
	if err := quorum.Sleep(limited, pause, 0); err != nil {
		return &Failure{Reason: Lost, Key: i, Awaited: c.awaited, Result: round.Result{Ctx: limited, CtxErr: err}, Err: why}
	}
	return nil
}

// GiveBack gives back the keys that are held, because the call has failed. It also ends the
// contexts that a [Failure] names.
func (c *Call) GiveBack(ctx context.Context) {
	if c.unguard != nil {
		c.unguard()
	}
	c.giveBack(ctx, 0, false)
}

// giveBack gives back key from and all behind it.
func (c *Call) giveBack(ctx context.Context, from int, again bool) {
	var tells []func()
	for i := from; i < len(c.Locks); i++ {
		if c.Locks[i] == nil {
			continue
		}
		tell, ok := c.Locks[i].GiveBack(ctx, again)
		if ok {
			c.Locks[i] = nil
		}
		if tell != nil {
			tells = append(tells, tell)
		}
	}
	for _, tell := range slices.Backward(tells) {
		defer tell() // each of them, in their order, even if a hook panics
	}
}

// extend extends these locks, all together. It stores the error of each.
func (c *Call) extend(ctx context.Context, locks []int, failures []error) {
	if len(locks) > 0 { // usually there are none, and that allocates nothing
		Each(len(locks), func(n int) { failures[locks[n]] = c.Locks[locks[n]].Extend(ctx) })
	}
}

// freshen extends the locks that are stale, all together, until asking ends. It returns
// errLost if one is lost.
func (c *Call) freshen(asking, limited context.Context) error {
	c.Since = time.Now()
	failures := make([]error, len(c.Locks))
	var stale []int
	for i, lock := range c.Locks {
		if lock.Stale(c.Waited) {
			stale = append(stale, i)
		}
	}
	c.extend(asking, stale, failures)
	if c.lost() != None {
		return errLost
	}
	for i, err := range failures {
		if err != nil {
			return &Failure{Reason: NotExtended, Key: i, Awaited: c.awaited, Result: round.Result{Ctx: limited, CtxErr: limited.Err()}, Err: err}
		}
	}
	return nil
}
