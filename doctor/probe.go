package doctor

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

const (
	// A waiter that is not notified looks for itself after 1.5 s at the earliest. So a
	// hand-over that takes longer than this was not a notification.
	slowHandOver = time.Second

	// counterLife is how long the counter of the probe is kept if it cannot be deleted. It
	// is the shortest that a Locker accepts, above the probe's TTL.
	counterLife = 2 * time.Minute

	queuedCheck = 10 * time.Millisecond // how often the holder looks whether the waiter is queued
)

// probeTTL is the TTL of the probe's lock. It must be at least eight node timeouts.
func (x *examination) probeTTL() time.Duration { return max(redlock.DefaultTTL, 8*x.NodeTimeout) }

// checkProbe takes a lock, has a second caller wait for it, hands it over and releases
// it, on all servers without a failure.
func (x *examination) checkProbe(ctx context.Context) verdict {
	if x.NoProbe {
		return verdict{}
	}
	var nodes []backend.Node
	notified := true
	for _, f := range x.servers {
		switch {
		case f.node == nil:
			return notChecked(errNoNode)
		case !f.failed:
			nodes = append(nodes, f.node)
			notified = notified && f.heardErr == nil && len(f.rights.denied[waiting]) == 0
		}
	}
	if len(nodes) <= len(x.servers)/2 {
		return notChecked(errors.New("too few servers are without a failure"))
	}
	used := &tokenList{}
	defer x.removeProbe(ctx, used)
	ctx, cancel := context.WithTimeout(ctx, 2*x.probeTTL())
	defer cancel()
	took, err := x.handOver(ctx, nodes, used)
	switch {
	case err != nil:
		return fail("See what the servers answered", "the trial lock failed: %s", text.Line(strings.TrimPrefix(err.Error(), "redlock: ")))
	case notified && took > slowHandOver:
		return warn("Look at the load of the servers and of this machine", "a waiter got a released lock only after %v: it was not notified", short(took))
	}
	return fine("a lock was taken, handed over to a waiter within %v, and released", short(took))
}

// handOver takes the lock, hands it over and releases it, and returns how long the
// waiter had to wait after the release.
func (x *examination) handOver(ctx context.Context, nodes []backend.Node, used *tokenList) (time.Duration, error) {
	opts := []redlock.Option{
		redlock.WithTTL(x.probeTTL()), redlock.WithNodeTimeout(x.NodeTimeout), redlock.WithKeyPrefix(x.KeyPrefix),
		redlock.WithCounterLife(x.probeTTL() + counterLife), redlock.WithOwner("doctor"),
	}
	if x.Fencing {
		opts = append(opts, redlock.WithFencing())
	}
	queued := make(chan struct{})
	holder, err := redlock.New(nodes, opts...)
	if err != nil {
		return 0, err
	}
	defer x.close(ctx, holder)
	waiter, err := redlock.New(nodes, append(opts, redlock.WithHooks(redlock.Hooks{
		Waiting: func(context.Context, redlock.Event) { close(queued) },
	}))...)
	if err != nil {
		return 0, err
	}
	defer x.close(ctx, waiter)
	key := strings.TrimPrefix(x.key, x.KeyPrefix)

	held, err := holder.Lock(ctx, key)
	if err != nil {
		return 0, err
	}
	used.add(held)
	patience, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var next *redlock.Lock
	var nextErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if next, nextErr = waiter.Lock(patience, key); nextErr == nil {
			used.add(next)
		}
	}()
	var early error
	select {
	case <-queued:
		awaitQueued(ctx, holder, key)
	case <-done:
		if nextErr == nil {
			early = errors.New("two callers got the lock at the same time")
		}
	}
	released := time.Now()
	heldErr := held.Unlock(ctx)
	if heldErr != nil {
		giveUp()
	}
	<-done
	took := time.Since(released)
	if nextErr == nil {
		nextErr = next.Unlock(ctx)
	}
	return took, first(early, heldErr, nextErr)
}

// close closes a Locker of the probe, and waits for what it still deletes, even if ctx has
// ended.
func (x *examination) close(ctx context.Context, l *redlock.Locker) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.limit())
	defer cancel()
	_ = l.Close(ctx) // what it does not delete in time expires
}

// awaitQueued returns when the waiter is in the queue of a node, or can be in none, or
// after a second.
func awaitQueued(ctx context.Context, holder *redlock.Locker, key string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ticker := time.NewTicker(queuedCheck)
	defer ticker.Stop()
	for {
		status, err := holder.Inspect(ctx, key)
		if err != nil || status.Waiting != 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// A tokenList collects the tokens of the probe's locks, for their tombstones.
type tokenList struct {
	mu   sync.Mutex
	list []string
}

func (t *tokenList) add(l *redlock.Lock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, l.Token())
}

// removeProbe deletes the keys of the probe on all servers that were used, even if ctx
// has ended. What cannot be deleted expires, so errors do not matter.
func (x *examination) removeProbe(ctx context.Context, used *tokenList) {
	used.mu.Lock()
	defer used.mu.Unlock()
	keys := []string{x.key}
	if queue, ok := proto.QueueKey(x.key); ok {
		keys = append(keys, queue)
	}
	if counter, ok := proto.CounterKey(x.key); ok && x.Fencing {
		keys = append(keys, counter)
	}
	for _, token := range used.list {
		if tombstone, ok := proto.TombstoneKey(x.key, token); ok && x.Fencing {
			keys = append(keys, tombstone)
		}
	}
	ctx = context.WithoutCancel(ctx)
	var wg sync.WaitGroup
	for _, f := range x.servers {
		if f.failed {
			continue
		}
		wg.Go(func() {
			for _, key := range keys {
				_, _ = f.ask(ctx, "DEL", key)
			}
		})
	}
	wg.Wait()
}
