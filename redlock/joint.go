package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/text"
)

// A joint is a call that locks several keys, with one call for each of them. It makes one
// attempt at all keys at once. If a key is refused, it keeps the keys before that one,
// gives back the others, and waits for the key. Then it tries all that are missing again.
//
// While it waits, it holds only keys that sort before the one for which it waits. All
// callers sort keys in the same way. So of any callers that wait, the one that waits for
// the last key waits for nobody who waits.
type joint struct {
	calls  []*call // sorted by key
	held   []held  // by key
	once   bool    // it makes a single attempt
	waited bool    // it has waited, so some keys may have been acquired long ago
	last   *call   // for the last key for which it waited because that was taken; nil: none
}

// A held is a key of a joint.
type held struct {
	lock  *Lock  // nil: it is missing
	outer *Lock  // the lock of ctx, which the call enters; nil: ctx does not hold the key
	begun bool   // the hook Begin was called, and Locked not since then
	told  bool   // the hook Locked was called for lock
	stop  func() // ends the extensions during waits; nil: there are none
}

// errLost says that a key was lost during the call, so that it has to be acquired again.
var errLost = errors.New("a key was lost")

// lock acquires all keys, or none.
func (j *joint) lock(ctx context.Context) (locks *Locks, err error) {
	if len(j.calls) == 1 {
		lock, err := j.calls[0].lock(ctx)
		if err != nil {
			return nil, err
		}
		return &Locks{[]*Lock{lock}}, nil
	}
	all := false
	defer func() { // after an error, and if a hook panics
		if !all {
			j.drop(ctx, 0, true)
			j.end(err)
		}
	}()
	for i := range j.held {
		if j.held[i].outer == nil {
			j.begin(ctx, i)
		}
	}
	if err := j.enter(); err != nil {
		return nil, err
	}
	limited, cancel := j.calls[0].limit(ctx)
	defer cancel()
	asking := ctx // WithWait does not limit the first attempt
	for losses := 0; !all; asking = limited {
		first, res, err := j.try(ctx, asking)
		switch {
		case err != nil:
		case first < 0:
			err = j.freshen(asking, limited)
			all = err == nil
		case j.once || res.CtxErr != nil:
			err = j.failed(ctx, first, res)
		default:
			err = j.wait(ctx, limited, first, res)
		}
		if err == errLost {
			losses++
			err = j.recover(ctx, limited, losses)
		}
		if err != nil {
			return nil, err
		}
	}
	return j.finish(), nil
}

// begin calls the hook Begin for key i. The hooks see each key as a call of its own.
func (j *joint) begin(ctx context.Context, i int) {
	j.held[i].begun, j.calls[i].waited = true, false
	j.calls[i].begin(ctx)
}

// end calls the hook Locked for the keys for which it was not called, because the call has
// failed with err. If err is nil, a hook has panicked.
func (j *joint) end(err error) {
	for i, c := range j.calls {
		if h := &j.held[i]; h.begun && err != nil {
			h.begun = false
			c.tell(c.locker.settings.hooks.Locked, err)
		}
	}
}

// enter enters the locks that ctx holds. It asks no node.
func (j *joint) enter() error {
	for i := range j.held {
		h := &j.held[i]
		if h.outer == nil {
			continue
		}
		lock, err := h.outer.enter(false)
		if err != nil {
			return j.calls[i].outerEnded(err)
		}
		h.lock = lock
	}
	return nil
}

// try makes one attempt at each missing key, all in one call of each node. It returns the
// first key that it does not get, and the result about that one, or -1. It keeps what it
// gets before that key and gives back the rest.
//
// A key for which other callers of this process wait counts as refused. Neither it nor the
// keys behind it are asked for.
func (j *joint) try(ctx, asking context.Context) (first int, res round.Result, err error) {
	first = -1
	asked, requests := make([]int, 0, len(j.calls)), make([]quorum.Request, 0, len(j.calls)) // asked: keys
	start := j.calls[0].locker.clock.Now()
	for i, c := range j.calls {
		if j.held[i].lock != nil {
			continue
		}
		if !j.once && !c.settings.polls() && c.locker.group.Contended(c.fullKey) {
			first, res = i, round.Result{Verdict: round.Behind}
			break
		}
		r := c.request()
		r.Start = start
		asked, requests = append(asked, i), append(requests, r)
	}
	won, results := j.calls[0].locker.group.TryAll(asking, requests)
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
			err = j.keep(ctx, i, won[n])
		}
	}
	if err == nil {
		j.tell(ctx) // only now, because a hook may panic
	}
	return first, res, err
}

// keep makes key i one that the call holds.
func (j *joint) keep(ctx context.Context, i int, won quorum.Held) error {
	lock := newHold(ctx, j.calls[i], won)
	if lock == nil {
		won.Abandon()
		return ErrClosed
	}
	j.held[i].lock = &lock.first
	return nil
}

// wait waits until it has key i, which was refused with the result res. Meanwhile it
// extends what it holds. It returns errLost if it loses one of these.
func (j *joint) wait(ctx, limited context.Context, i int, res round.Result) error {
	c := j.calls[i]
	j.waited = true
	if res.Verdict == round.Lost || res.Verdict == round.Behind {
		j.last = c
	}
	for k := range j.held[:i] {
		if h := &j.held[k]; h.stop == nil {
			h.stop = h.lock.lease.ExtendMeanwhile(c.settings.ttl)
		}
	}
	guard, cancel := context.WithCancel(limited)
	defer cancel()
	guard = contextOf(guard, j.locks(i))
	if c.settings.polls() {
		pause, again := c.Pause(false)
		if !again {
			return j.failed(ctx, i, res)
		}
		c.Waits(ctx, res)
		if err := quorum.Sleep(guard, pause, 2*res.Elapsed); err != nil {
			res.Ctx, res.CtxErr = guard, err
			return j.ended(ctx, limited, i, res)
		}
	}
	r := c.request()
	r.Start = c.locker.clock.Now()
	won, res := c.locker.group.Lock(guard, r)
	if res.Verdict != round.Won {
		return j.ended(ctx, limited, i, res)
	}
	if err := j.keep(ctx, i, won); err != nil {
		return err
	}
	j.tell(ctx)
	return nil
}

// tell calls the hook Locked for the keys that were acquired since the last time.
func (j *joint) tell(ctx context.Context) {
	for i, c := range j.calls {
		if h := &j.held[i]; h.lock != nil && h.outer == nil && !h.told {
			h.told, h.begun = true, false
			c.tell(c.locker.settings.hooks.Locked, nil)
		}
	}
}

// locks returns the locks on the first n keys, which are held.
func (j *joint) locks(n int) []*Lock {
	locks := make([]*Lock, n)
	for i := range locks {
		locks[i] = j.held[i].lock
	}
	return locks
}

// lost returns the first key that was lost, or -1.
func (j *joint) lost() int {
	return slices.IndexFunc(j.held, func(h held) bool { return h.lock != nil && h.lock.Err() != nil })
}

// recover gives back the first key that was lost and all behind it, because the call may
// have to wait for it. It returns after a pause, so that keys that are lost again and
// again do not keep the nodes busy.
func (j *joint) recover(ctx, limited context.Context, losses int) error {
	i := j.lost()
	c, h := j.calls[i], &j.held[i]
	why := h.lock.Err()
	switch {
	case why == ErrClosed: // by a Shutdown
		return ErrClosed
	case h.outer != nil:
		return c.outerEnded(why)
	case j.once:
		return c.failed(ctx, round.Result{Verdict: round.Late})
	}
	c.locker.settings.Logger.Warn("redlock: a key was lost while the call waited for another one, and is acquired again",
		"key", text.Name(c.fullKey), "error", why)
	j.drop(ctx, i, false)
	if err := quorum.Sleep(limited, max(0, c.pace().delay(losses)), 0); err != nil {
		e := c.quorumError(ErrUnavailable)
		e.detail, e.ctxErr = fmt.Sprintf("it was lost while the call waited for another key (%v)", why), ending.Of(limited, err)
		return e
	}
	return nil
}

// drop gives back key from and all behind it, in the background. The call has no more use
// for them, so their minimum hold does not count. last says that the call is over.
// Otherwise it stays in the locks that ctx held before, and acquires the others again.
func (j *joint) drop(ctx context.Context, from int, last bool) {
	var ended []func()
	for i := from; i < len(j.held); i++ {
		h, c := &j.held[i], j.calls[i]
		lock := h.lock
		if lock == nil {
			continue
		}
		h.rest()
		if h.outer != nil {
			if last {
				_ = lock.Unlock(ctx) // the others may have unlocked meanwhile
				h.lock = nil
			}
			continue
		}
		h.lock = nil
		_ = lock.Err() // a lock past its validity is lost, not released
		released := lock.lease.EndFirst(ErrReleased)
		lock.lease.Attempt().Abandon()
		if h.told {
			h.told = false
			ended = append(ended, func() {
				if released {
					lock.tellReleased(ctx, c.locker.newCall("unlock", c.key, lock.callSettings()))
				}
				if !last {
					j.begin(ctx, i)
				}
			})
		}
	}
	for _, tell := range ended { // only now, because a hook may panic
		tell()
	}
}

// rest ends the extensions during waits.
func (h *held) rest() {
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// freshen extends the keys that were acquired before a wait, all together, until asking
// ends. It returns errLost if one is lost.
func (j *joint) freshen(asking, limited context.Context) error {
	begun := time.Now()
	failures := make([]error, len(j.held))
	var wg sync.WaitGroup
	for i := range j.held {
		if c, lock := j.calls[i], j.held[i].lock; j.stale(i) {
			wg.Go(func() { failures[i] = c.lengthen(asking, lock) })
		}
	}
	wg.Wait()
	if j.lost() >= 0 {
		return errLost
	}
	for _, err := range failures {
		switch {
		case err == nil:
		case j.last != nil && limited.Err() != nil && cutOff(err):
			return j.spent(limited, limited.Err())
		default:
			return err
		}
	}
	for i, c := range j.calls {
		if d := c.settings.minHold; d > 0 && (j.waited || j.held[i].outer != nil) {
			j.held[i].lock.lease.HoldUntil(begun.Add(d))
		}
	}
	return nil
}

// stale reports whether key i has to be extended before the call returns. A key that was
// acquired in this call is stale if a tenth of its TTL has passed. A minimum hold counts
// from when all keys are held.
func (j *joint) stale(i int) bool {
	c, h := j.calls[i], &j.held[i]
	if h.outer != nil {
		return !h.lock.lasts(c.settings)
	}
	if !j.waited {
		return false
	}
	s := &c.locker.settings
	ttl := s.lease(c.settings)
	return c.settings.minHold > 0 || time.Until(h.lock.Until()) < ttl-s.DriftOf(ttl)-ttl/10
}

// finish returns the handle on the keys, all of which are held.
func (j *joint) finish() *Locks {
	for i, c := range j.calls {
		h := &j.held[i]
		if h.outer != nil {
			h.lock.keepExtending(c.settings)
		} else {
			h.lock.startExtending(c.settings)
		}
		h.rest()
		c.free()
	}
	return &Locks{j.locks(len(j.held))}
}
