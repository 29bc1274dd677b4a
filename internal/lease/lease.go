package lease

import (
	"context"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/round"
)

// An Owner is the part of a lease that talks to the user: hooks, logs and error texts.
type Owner interface {
	// Renew begins an automatic extension to ttl, or returns false if the lease has
	// ended.
	Renew(ttl time.Duration) (Renewal, bool)

	// Expired returns the error of a lease whose validity ended at until. failure is why
	// the last extension failed, if it did.
	Expired(until time.Time, failure error) error

	// Lost is called when the lease has ended because of cause, and was not released. It
	// was held for that long.
	Lost(held time.Duration, cause error)

	// ShutDown is called when a Shutdown with ctx has released the lease.
	ShutDown(ctx context.Context)
}

// A Renewal is an automatic extension that is under way.
type Renewal interface {
	// End processes the result, and returns why the lease was not extended. It calls
	// Extended or Unextended of the lease.
	End(round.Result) error
}

// A Lease is a lock on the servers. It ends when its last handle is unlocked, when it is
// lost, or by a Shutdown.
type Lease struct {
	keeper  *Keeper
	owner   Owner
	rules   *Rules
	attempt *attempt.Attempt
	first   *Handle // of the caller that acquired it
	entry   entry
	since   mono.Time
	held    time.Duration // how long it was held; guarded by mu, final once it has ended

	mu          sync.Mutex
	handles     int32 // that are not unlocked
	extends     bool  // it extends itself until it ends, or is about to
	limited     bool  // the extensions end with a maximal hold
	interrupted bool  // new contexts have ended already
	shared      bool  // others may hold the lock too, to read; never becomes false
	meanwhile   int32 // the number of calls for which it extends itself until they end
	until       clock.Instant
	least       mono.Time            // end of the minimum hold; 0: none
	votes       []round.Vote         // of the last round that was won
	failure     error                // of the last extension; nil if it succeeded
	cause       error                // why it ended; nil while it is held
	nested      map[*Handle]struct{} // the handles other than first that have contexts
	expiry      *time.Timer          // ends it at until; nil while nobody would notice
	extension   *extension           // nil unless it extends itself
}

// Terms are what is known of a lease when it begins.
type Terms struct {
	Attempt        *attempt.Attempt // has won
	Since, Until   clock.Instant    // when it was known to be held, and the end of its validity
	Least          mono.Time        // end of the minimum hold; 0: none
	Votes          []round.Vote     // of the round that was won
	Extends        bool             // StartExtending follows
	ExtendsLimited bool             // with a maximal hold
	Shared         bool             // others may hold the lock too, to read
}

// Begin makes l, which is empty, the lease with these terms, and first its first handle.
// It reports whether it did. It does not after a Shutdown.
func (k *Keeper) Begin(l *Lease, first *Handle, owner Owner, rules *Rules, t Terms) bool {
	l.keeper, l.owner, l.rules, l.attempt = k, owner, rules, t.Attempt
	l.since, l.until, l.least, l.votes = mono.Of(t.Since.Time()), t.Until, t.Least, t.Votes
	l.extends, l.limited, l.shared = t.Extends, t.ExtendsLimited, t.Shared
	l.handles, l.first, first.lease = 1, first, l
	return k.register.add(l)
}

// Attempt returns the attempt that has won.
func (l *Lease) Attempt() *attempt.Attempt { return l.attempt }

// Until returns the end of the validity.
func (l *Lease) Until() clock.Instant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Votes returns what the nodes answered in the last round that was won.
func (l *Lease) Votes() []round.Vote {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.votes
}

// Err returns nil while the lease is held, and then why it ended. It ends the lease if its
// validity is over.
func (l *Lease) Err() error { return l.err(l.keeper.Clock.Now()) }

func (l *Lease) err(now clock.Instant) error {
	l.mu.Lock()
	cause := l.cause
	past := cause == nil && l.until.Past(now)
	l.mu.Unlock()
	if !past {
		return cause
	}
	if lost := l.Lapse(now); lost != nil {
		lost()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Lapse ends the lease if its validity is over at now. It does not tell the Owner that the
// lease was lost: the caller must do that by calling lost, unless it is nil. So the caller
// can release the lock first, because a hook may panic.
func (l *Lease) Lapse(now clock.Instant) (lost func()) {
	l.mu.Lock()
	past := l.cause == nil && l.until.Past(now)
	until, failure := l.until.Time(), l.failure
	l.mu.Unlock()
	if !past {
		return nil
	}
	if cause := l.owner.Expired(until, failure); l.end(now.Time(), cause) {
		return func() { l.owner.Lost(l.held, cause) } // held is final by now
	}
	return nil
}

// past reports whether the validity has ended.
func (l *Lease) past() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Past(l.keeper.Clock.Now())
}

// End ends the lease for this process: contexts, timers and extensions. It asks no node.
// Only the first call has an effect. End returns the cause of that call.
func (l *Lease) End(cause error) error { return l.endAt(time.Now(), cause) }

func (l *Lease) endAt(now time.Time, cause error) error {
	if l.endFirst(now, cause) {
		return cause
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// EndFirst is End, and reports whether it was the first call.
func (l *Lease) EndFirst(cause error) bool { return l.endFirst(time.Now(), cause) }

func (l *Lease) endFirst(now time.Time, cause error) bool {
	first := l.end(now, cause)
	if first && !l.keeper.wasReleased(cause) {
		l.owner.Lost(l.held, cause) // held is final by now
	}
	return first
}

// end is endFirst, except that the Owner is not told.
func (l *Lease) end(now time.Time, cause error) bool {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return false
	}
	l.cause, l.held = cause, mono.Of(now).Sub(l.since)
	contexts := l.endAllContexts()
	if l.expiry != nil {
		l.expiry.Stop()
		l.keeper.watch.remove(l)
	}
	if l.extension != nil {
		l.keeper.extender.remove(l.extension)
	}
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(cause)
	}
	l.keeper.register.remove(l)
	if !l.keeper.wasReleased(cause) {
		l.attempt.Lose()
	}
	return true
}

// Released reports whether the lease has ended because it was released.
func (l *Lease) Released() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper.wasReleased(l.cause)
}

// Lost returns the cause of a lease that has ended and was not released, otherwise nil.
func (l *Lease) Lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keeper.wasReleased(l.cause) {
		return nil
	}
	return l.cause
}

// HeldFor returns how long a lease was held that was released. It returns 0 for one that
// was lost, because its owner has already learned of that time.
func (l *Lease) HeldFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.keeper.wasReleased(l.cause) {
		return 0
	}
	return l.held
}

// Extended notes that a quorum has confirmed an extension, and reports whether that
// counts. It does not if the validity was over before the answer came. Another caller may
// then have held the lock in between, and released it before nodes that had lost the token
// were given it again. The caller asks Err whether the lease has ended meanwhile.
func (l *Lease) Extended(until clock.Instant, votes []round.Vote) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.keeper.Clock.Now()
	if l.until.Past(now) {
		return false
	}
	if until.Until(now) > l.until.Until(now) {
		l.until = until
	}
	l.votes, l.failure = votes, nil
	if l.cause == nil {
		l.attempt.Lasts(l.until)
		if l.expiry != nil {
			l.expiry.Reset(l.until.Until(now))
		}
	}
	return true
}

// Unextended notes why an extension has failed.
func (l *Lease) Unextended(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = why
}

// Lasts reports whether the validity is at least that of a lease that begins now and has
// this TTL.
func (l *Lease) Lasts(ttl time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Until(l.keeper.Clock.Now()) >= ttl-l.rules.DriftOf(ttl)
}

// watchExpiry starts the timer that ends the lease at the end of its validity, even if
// nobody asks.
func (l *Lease) watchExpiry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil || l.expiry != nil {
		return
	}
	l.expiry = time.AfterFunc(l.until.Until(l.keeper.Clock.Now()), l.expire)
	l.keeper.watch.add(l)
}

// expire is what the expiry timer calls.
func (l *Lease) expire() {
	if l.Err() != nil {
		return
	}
	// An extension came first, or the wall clock was set back.
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.expiry.Reset(max(l.until.Until(l.keeper.Clock.Now()), time.Millisecond))
	}
}

// interrupt ends the contexts, and those that are requested later, but not the lease.
func (l *Lease) interrupt() {
	l.mu.Lock()
	l.interrupted = true
	contexts := l.endAllContexts()
	l.mu.Unlock()
	for _, ctx := range contexts {
		ctx.cancel(l.keeper.Closed)
	}
}

// giveUp releases a lease that has not ended, in the background. tell, if not nil, tells
// the Owner.
func (l *Lease) giveUp(ctx context.Context) (tell func()) {
	lost := l.Lapse(l.keeper.Clock.Now())
	if !l.EndFirst(l.keeper.Closed) { // it has just lapsed, or has ended before
		return lost
	}
	if !l.Park() {
		l.attempt.Abandon()
	}
	return func() { l.owner.ShutDown(ctx) }
}
