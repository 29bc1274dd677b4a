package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/redlock"
)

// A kind says how a process waits for the lock.
type kind string

const (
	redsyncs kind = "redsync"  // with its defaults
	changing kind = "changing" // Quorumlock, as it is deployed beside redsync
	queueing kind = "queueing" // Quorumlock with its defaults
)

const (
	key  = "orders/42"
	wait = 5 * time.Second // about as long as redsync waits by default
	rest = 25 * time.Millisecond
)

// while is the option of a process that changes.
func while() redlock.AcquireOption {
	return redlock.WithRetry(redlock.Fixed(300 * time.Millisecond).Jitter().ThenQueue(2 * time.Second))
}

// scale is the size of a measurement.
type scale struct {
	members     int
	phase, hold time.Duration
}

// A result is what the processes got in one phase.
type result struct {
	phase   phase
	locks   []int
	failed  []int
	longest []time.Duration // the longest wait of a call that got the lock
}

// starved says who starved: a kind whose processes got no lock together, and, where redsync is no
// longer used, a process that got no lock or had a call that failed. Beside redsync, chance decides
// which of its processes gets the lock, and calls may fail, as they do in a fleet of redsync alone.
func (r result) starved() []string {
	var all []string
	locks := map[kind]int{}
	for i, k := range r.phase {
		locks[k] += r.locks[i]
	}
	for k, n := range locks {
		if n == 0 {
			all = append(all, fmt.Sprintf("%s: no locks", k))
		}
	}
	if slices.Contains(r.phase, redsyncs) {
		return all
	}
	for i, k := range r.phase {
		if r.locks[i] == 0 || r.failed[i] > 0 {
			all = append(all, fmt.Sprintf("process %d, %s: %d locks, %d calls failed", i+1, k, r.locks[i], r.failed[i]))
		}
	}
	return all
}

// change runs the phases one after the other. It fails if two processes held the lock at the same
// time, or if a call failed for another reason than that the lock was taken.
func change(ctx context.Context, server string, s scale, way []phase) ([]result, error) {
	var inside atomic.Int32
	var results []result
	for _, p := range way {
		r := result{phase: p, locks: make([]int, len(p)), failed: make([]int, len(p)), longest: make([]time.Duration, len(p))}
		ends, cancel := context.WithTimeout(ctx, s.phase)
		errs := make([]error, len(p))
		var all sync.WaitGroup
		for i, kind := range p {
			all.Go(func() {
				errs[i] = member(ends, server, kind, func(acquire func(context.Context) (release func() error, err error)) error {
					start := time.Now()
					release, err := acquire(ends)
					took := time.Since(start)
					switch {
					case ends.Err() != nil && err != nil:
						return nil // the process is replaced
					case err == errBusy:
						r.failed[i]++
						return nil
					case err != nil:
						return err
					}
					if inside.Add(1) != 1 {
						err = errors.New("two processes hold the lock at the same time")
					}
					time.Sleep(s.hold)
					inside.Add(-1)
					if ends.Err() == nil {
						r.locks[i]++
						r.longest[i] = max(r.longest[i], took)
					}
					err = errors.Join(err, release())
					time.Sleep(rest)
					return err
				})
			})
		}
		all.Wait()
		cancel()
		if err := errors.Join(errs...); err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

// errBusy means that a call waited for as long as it may.
var errBusy = errors.New("the lock is taken")

// member is a process: it calls use again and again until ctx ends.
func member(ctx context.Context, server string, k kind, use func(acquire func(context.Context) (func() error, error)) error) error {
	client := redis.NewClient(&redis.Options{Addr: server})
	defer client.Close()
	acquire := acquireRedsync(client)
	if k != redsyncs {
		locker, err := redlock.New([]backend.Node{goredis.New(client)}, redlock.WithTTL(8*time.Second), redlock.WithWait(wait))
		if err != nil {
			return err
		}
		defer locker.Shutdown(context.WithoutCancel(ctx))
		acquire = acquireQuorumlock(locker, k)
	}
	for ctx.Err() == nil {
		if err := use(acquire); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

func acquireRedsync(client *redis.Client) func(context.Context) (func() error, error) {
	locks := redsync.New(redsyncgoredis.NewPool(client))
	return func(ctx context.Context) (func() error, error) {
		mutex := locks.NewMutex(key)
		err := mutex.LockContext(ctx)
		var taken *redsync.ErrTaken
		if errors.As(err, &taken) || errors.Is(err, redsync.ErrFailed) {
			return nil, errBusy
		}
		release := func() error {
			_, err := mutex.UnlockContext(context.WithoutCancel(ctx))
			return err
		}
		return release, err
	}
}

func acquireQuorumlock(locker *redlock.Locker, k kind) func(context.Context) (func() error, error) {
	var opts []redlock.LockOption
	if k == changing {
		opts = append(opts, while())
	}
	return func(ctx context.Context) (func() error, error) {
		lock, err := locker.Lock(ctx, key, opts...)
		if errors.Is(err, redlock.ErrTaken) {
			return nil, errBusy
		}
		return func() error { return lock.Unlock(context.WithoutCancel(ctx)) }, err
	}
}

// table returns the results in Markdown.
func table(results []result, s scale) string {
	var b strings.Builder
	b.WriteString("| seconds |")
	for i := range s.members {
		fmt.Fprintf(&b, " process %d |", i+1)
	}
	b.WriteString(" longest wait | calls that failed |\n|---" + strings.Repeat("|---", s.members) + "|---|---|\n")
	for n, r := range results {
		fmt.Fprintf(&b, "| %g to %g |", (time.Duration(n) * s.phase).Seconds(), (time.Duration(n+1) * s.phase).Seconds())
		failed := 0
		for i, k := range r.phase {
			fmt.Fprintf(&b, " %s: %d |", k, r.locks[i])
			failed += r.failed[i]
		}
		fmt.Fprintf(&b, " %.1f s | %d |\n", slices.Max(r.longest).Seconds(), failed)
	}
	return b.String()
}
