package election

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Callbacks are what a candidate does while it leads. Only Lead is required.
type Callbacks struct {
	// Lead runs while this process leads, on the goroutine of Campaign. term is the number
	// of its term. Its ctx ends when the process no longer leads, or is about to: Lead must
	// then stop within the grace. The [context.Cause] says why. With that ctx a call may
	// lock other keys.
	//
	// A return of nil resigns: the next candidate leads at once, and this one campaigns
	// again, behind the others. An error resigns too, and ends Campaign, unless the process
	// no longer leads.
	Lead func(ctx context.Context, term uint64) error

	// Grace is how long before the end of the lease the ctx of Lead ends if the lock cannot
	// be extended. It is the time that Lead has for stopping. It must be less than half of
	// the lease ([redlock.Locker.Validity]). 0 means a tenth of the lease: 1 s with the
	// default TTL.
	//
	// If the lock is found to be lost, because it was deleted or servers have lost their
	// data, ctx ends when that is noticed. This may be too late.
	Grace time.Duration

	// Overstays is called once in a term if Lead goes on although its ctx ended a grace ago
	// and the lock has ended, so that another process may lead by now. It runs on a
	// goroutine of its own. Campaign waits for it, so it must not wait for Campaign. nil
	// means that nobody is told. A program for which two leaders are worse than none should
	// exit.
	Overstays func(term uint64)

	// Deposed is called after Lead has returned if the process has lost the leadership
	// before, with the reason. This is so even if Campaign returns then. nil means that
	// nobody is told.
	Deposed func(term uint64, why error)
}

// pause is how long a candidate that has resigned waits before it campaigns again, so that
// a Lead that returns at once does not keep the servers busy.
const pause = 250 * time.Millisecond

// ErrStepsDown is the [context.Cause] of the ctx of Lead if the lock could not be extended
// in time. It matches [redlock.ErrNotHeld].
var ErrStepsDown = fmt.Errorf("election: the leadership could not be extended in time: %w", redlock.ErrNotHeld)

// Campaign makes this process a candidate for the leadership that key stands for. It waits
// until it leads, runs [Callbacks.Lead], and campaigns again when that has ended. It
// returns when ctx ends, when the Locker is closed, or when Lead returns an error. It
// always waits for Lead, and resigns before it returns.
//
// The error is ctx's, redlock.ErrClosed, that of Lead, or that of a Lock that servers
// refuse for good. If Lead returns an error after the end of ctx or of the Locker, the two
// are joined. While too many nodes are unavailable, Campaign waits. If the lock took
// so long that no more than a grace is left of it, Campaign resigns without Lead, and
// campaigns again. Bad arguments are errors before any I/O. opts apply to the lock. Options
// that limit how long it is held or waited for make no sense here, and neither does a minimum
// hold. All nodes must run scripts, because each term has a
// fencing token ([redlock.WithFencing]). Any number of calls may run at the same time.
func Campaign(ctx context.Context, locker *redlock.Locker, key string, c Callbacks, opts ...redlock.LockOption) error {
	if c.Lead == nil {
		return errors.New("election: Callbacks.Lead is nil")
	}
	if c.Grace < 0 {
		return fmt.Errorf("election: a grace of %v: must not be negative", c.Grace)
	}
	opts, lease, err := complete(locker, opts)
	if err != nil {
		return err
	}
	grace := cmp.Or(c.Grace, lease/10)
	if grace >= lease/2 {
		return fmt.Errorf("election: a grace of %v: must be less than half of the lease, which is %v", grace, lease)
	}
	for {
		t := term{callbacks: &c, lease: lease, grace: grace}
		err := locker.Do(ctx, key, func(ctx context.Context) error { return t.serve(ctx, locker, key) }, opts...)
		deposed := t.deposed(err)
		if deposed && c.Deposed != nil { // whatever else has ended meanwhile
			c.Deposed(t.number, t.lost)
		}
		switch {
		case !t.begun: // ctx or the Locker ended, or the servers refuse
			return err
		case ctx.Err() != nil:
			return join(context.Cause(ctx), t.err)
		case errors.Is(t.why, redlock.ErrClosed) || errors.Is(err, redlock.ErrClosed) && !errors.Is(t.err, redlock.ErrClosed):
			return join(redlock.ErrClosed, t.err)
		case deposed, !t.led: // or too little of the lock was left
		case err != nil:
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// complete returns the options of the lock, and how long it is valid. A candidate is as
// patient as can be. A policy with which it polls for ever rejects a patience, and goes on
// while nodes are unavailable anyway.
func complete(locker *redlock.Locker, opts []redlock.LockOption) ([]redlock.LockOption, time.Duration, error) {
	polling := append(slices.Clip(opts), redlock.WithFencing())
	queueing := append([]redlock.LockOption{redlock.WithPatience(redlock.Forever)}, polling...)
	var lease time.Duration
	var err error
	for _, opts := range [][]redlock.LockOption{queueing, polling} {
		// As Do extends the lock.
		if lease, err = locker.Validity(append(slices.Clip(opts), redlock.WithAutoExtend())...); err == nil {
			return opts, lease, nil
		}
	}
	return nil, 0, err
}

// join returns cause, which has ended the campaign, with the error of Lead if it says more.
func join(cause, err error) error {
	switch {
	case err == nil, err == context.Canceled, err == context.DeadlineExceeded: // a wrapped one says more
		return cause
	case errors.Is(err, cause):
		return err
	}
	return errors.Join(cause, err)
}

// A term is the time for which this process leads.
type term struct {
	callbacks    *Callbacks
	lease, grace time.Duration

	number uint64
	begun  bool        // the lock was acquired
	led    bool        // Lead was called
	late   atomic.Bool // the lock could not be extended in time
	err    error       // what Lead returned
	why    error       // why the ctx of Lead ended before Lead returned
	lost   error       // why the leadership was lost
}

// deposed reports whether the leadership was lost before Lead returned. err is what Do
// returned.
func (t *term) deposed(err error) bool {
	if t.led && t.lost == nil && errors.Is(err, redlock.ErrNotHeld) && !errors.Is(t.err, redlock.ErrNotHeld) {
		t.lost = err
	}
	return t.lost != nil
}

// serve runs Lead. ctx is that of Do.
func (t *term) serve(ctx context.Context, locker *redlock.Locker, key string) error {
	t.begun, t.number = true, redlock.FenceFromContext(ctx)
	// Another handle on the lock, which tells how long it is valid.
	lock, err := locker.TryLock(ctx, key, redlock.WithReentrancy(), redlock.WithAutoExtend())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Unlock(context.WithoutCancel(ctx)) }()
	if err := t.refresh(ctx, lock); err != nil {
		return err
	}
	leading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		t.watch(leading, stop, lock, ended)
	}()
	defer func() { // also if Lead panics
		close(ended)
		<-watched
	}()
	t.led = true
	t.err = t.callbacks.Lead(leading, t.number)
	if leading.Err() != nil {
		t.why = context.Cause(leading)
	}
	// The lock says more than why, which may be the end of another ctx before the loss. The
	// cause of that ctx may be the loss of another lock.
	switch err := lock.Err(); {
	case t.why != nil && t.late.Load():
		t.lost = ErrStepsDown
	case errors.Is(err, redlock.ErrNotHeld):
		t.lost = err
	}
	return t.err
}

// errLate is the error of a term that ends before Lead is called, because too little of the
// lock is left.
var errLate = errors.New("election: the lock took too long")

// refresh extends a lock that was acquired slowly, so that Lead is not told to stop as
// soon as it has begun. The error is not nil if no more than a grace is left.
func (t *term) refresh(ctx context.Context, lock *redlock.Lock) error {
	if remaining(lock) >= 2*t.grace {
		return nil
	}
	if err := lock.Extend(ctx, t.lease); err != nil {
		return errors.Join(errLate, err)
	}
	if remaining(lock) <= t.grace {
		return errLate
	}
	return nil
}

// watch ends the term a grace before the lease, unless that is extended, and reports a
// Lead that goes on after that. It returns when ended is closed.
func (t *term) watch(leading context.Context, stop context.CancelCauseFunc, lock *redlock.Lock, ended <-chan struct{}) {
	due := time.NewTimer(time.Until(lock.Until()) - t.grace)
	defer due.Stop()
	for leading.Err() == nil {
		select {
		case <-ended:
			return
		case <-leading.Done():
		case <-due.C:
			if left := time.Until(lock.Until()) - t.grace; left > 0 {
				due.Reset(left)
			} else {
				t.late.Store(true)
				stop(ErrStepsDown)
			}
		}
	}
	for left := t.grace; left > 0; left = remaining(lock) { // the lock may still be held, for example if only ctx has ended
		due.Reset(left)
		select {
		case <-ended:
			return
		case <-due.C:
		}
	}
	if t.callbacks.Overstays != nil {
		t.callbacks.Overstays(t.number)
	}
	<-ended
}

// remaining returns how much longer lock is held if it is not extended.
func remaining(lock *redlock.Lock) time.Duration {
	if lock.Err() != nil {
		return 0
	}
	return time.Until(lock.Until())
}
