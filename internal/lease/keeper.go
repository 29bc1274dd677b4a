package lease

import (
	"context"
	"log/slog"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
)

// A Keeper has what the leases of a Locker, and of those derived from it, share. Its
// exported fields are set before its first lease begins.
type Keeper struct {
	Clock *clock.Clock

	// The causes with which a lease ends that was not lost: its last handle was unlocked,
	// or the Keeper was shut down.
	Released, Closed error

	watch    watch
	extender extender
	register register
	parking  parking
}

// Rules are the settings of a Locker that its leases need.
type Rules struct {
	Drift       float64       // how much the rates of clocks may differ, as a share
	NodeTimeout time.Duration // how long a round waits for a node, if the TTL allows that
	Logger      *slog.Logger
}

// DriftOf returns the drift allowance of a lease: a share of ttl, because clocks run at
// different rates, and 2 ms, because servers count in milliseconds.
func (r *Rules) DriftOf(ttl time.Duration) time.Duration {
	return time.Duration(float64(ttl)*r.Drift) + 2*time.Millisecond
}

// Timeout returns how long a round for a lease of ttl waits for a node.
func (r *Rules) Timeout(ttl time.Duration) time.Duration { return min(r.NodeTimeout, ttl/8) }

// Outlasting returns a TTL that does not end before d is over, even if a node's clock is
// fast.
func (r *Rules) Outlasting(d time.Duration) time.Duration {
	return (d + r.DriftOf(d) + time.Millisecond).Truncate(time.Millisecond)
}

// Close stops the timers of parked leases for good. They are left to expire.
func (k *Keeper) Close() { k.parking.close() }

// Shutdown closes the Keeper and ends all leases, and no other begins. It returns when all
// leases have ended, or with the error of ctx when that ends first. A lease under which a
// function runs ([Keeper.Enter]) ends when the function has; only its contexts end at
// once. The owner of each lease that Shutdown has released is told so, with ctx. What
// is left on the nodes is deleted in the background.
func (k *Keeper) Shutdown(ctx context.Context) error {
	k.Close()
	free, busy := k.register.shutDown()
	for _, l := range busy {
		l.interrupt()
	}
	giveUp(ctx, free)
	select {
	case <-k.register.done():
	case <-ctx.Done():
		return ctx.Err()
	}
	free, _ = k.register.shutDown() // other handles on the leases of the functions
	giveUp(ctx, free)
	return nil
}

// giveUp releases leases that have not ended, in the background.
func giveUp(ctx context.Context, leases []*Lease) {
	var tells []func()
	for _, l := range leases {
		if tell := l.giveUp(ctx); tell != nil {
			tells = append(tells, tell)
		}
	}
	for _, tell := range tells { // only now, because a hook may panic
		tell()
	}
}

// Enter records that a function is about to run under leases, and reports whether it may.
// It may not after a Shutdown. [Keeper.Leave] follows if it may.
func (k *Keeper) Enter(leases ...*Lease) bool { return k.register.begin(leases) }

// Leave records that a function that ran under leases has ended, and that they are
// unlocked.
func (k *Keeper) Leave(leases ...*Lease) { k.register.finish(leases) }

// Running counts the functions that run under leases.
func (k *Keeper) Running() int { return k.register.busy() }

// wasReleased reports whether cause means that a lease ended because it was released.
func (k *Keeper) wasReleased(cause error) bool { return cause == k.Released || cause == k.Closed }

// Counts is how many leases a Keeper has, for tests.
type Counts struct {
	Listed    int  // for a Shutdown
	Watched   int  // because they have an expiry timer
	Watching  bool // whether the timer of the watch runs
	Scheduled int  // to be extended
	Extending int  // being extended
}

// Count counts the leases.
func (k *Keeper) Count() Counts {
	var c Counts
	k.register.mu.Lock()
	c.Listed = k.register.size
	k.register.mu.Unlock()
	k.watch.mu.Lock()
	c.Watched, c.Watching = len(k.watch.leases), k.watch.timer != nil
	k.watch.mu.Unlock()
	k.extender.mu.Lock()
	c.Scheduled, c.Extending = len(k.extender.queue), k.extender.busy
	k.extender.mu.Unlock()
	return c
}
