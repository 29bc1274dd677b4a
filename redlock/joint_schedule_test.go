package redlock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// An acquirer acquires keys in some way, and returns what releases them.
type acquirer func(ctx context.Context, l *Locker, keys []string) (ended context.Context, release func() error, err error)

// byLockAll is what ships.
func byLockAll(ctx context.Context, l *Locker, keys []string) (context.Context, func() error, error) {
	locks, err := l.LockAll(ctx, keys, WithAutoExtend(), WithPatience(Forever))
	if err != nil {
		return nil, nil, err
	}
	return locks.Context(context.Background()), func() error { return locks.Unlock(context.Background()) }, nil
}

// inItsOwnOrder waits for each key in the order in which they were named.
func inItsOwnOrder(ctx context.Context, l *Locker, keys []string) (context.Context, func() error, error) {
	var locks []*Lock
	release := func() error {
		return each(locks, func(lock *Lock) error { return lock.Unlock(context.Background()) })
	}
	for _, key := range keys {
		lock, err := l.Lock(ctx, key, WithAutoExtend(), WithPatience(Forever))
		if err != nil {
			_ = release()
			return nil, nil, err
		}
		locks = append(locks, lock)
	}
	return contextOf(context.Background(), locks), release, nil
}

// keepsTheRest tries all keys as LockAll does, but keeps all that it gets while it waits.
func keepsTheRest(ctx context.Context, l *Locker, keys []string) (context.Context, func() error, error) {
	held := make(map[string]*Lock)
	locks := func() (all []*Lock) {
		for _, lock := range held {
			all = append(all, lock)
		}
		return all
	}
	release := func() error {
		return each(locks(), func(lock *Lock) error { return lock.Unlock(context.Background()) })
	}
	keys = slices.Sorted(slices.Values(keys))
	for len(held) < len(keys) {
		for _, key := range keys {
			if held[key] == nil {
				if lock, err := l.TryLock(ctx, key, WithAutoExtend()); err == nil {
					held[key] = lock
				}
			}
		}
		for _, key := range keys {
			if held[key] != nil {
				continue
			}
			lock, err := l.Lock(ctx, key, WithAutoExtend(), WithPatience(Forever))
			if err != nil {
				_ = release()
				return nil, nil, err
			}
			held[key] = lock
			break
		}
	}
	return contextOf(context.Background(), locks()), release, nil
}

// A crowd is what callers with overlapping sets of keys have found.
type crowd struct {
	mu      sync.Mutex
	inside  map[string]int // by key: callers that hold it
	turns   int            // how often a caller held its keys
	overlap []string
	stuck   int // callers that waited for ever
	wrong   []error
}

// enter notes that somebody holds keys.
func (c *crowd) enter(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
	for _, key := range keys {
		if c.inside[key]++; c.inside[key] > 1 {
			c.overlap = append(c.overlap, key)
		}
	}
}

func (c *crowd) leave(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		c.inside[key]--
	}
}

func (c *crowd) fail(stuck bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stuck {
		c.stuck++
	} else {
		c.wrong = append(c.wrong, err)
	}
}

const (
	crowdCallers = 6
	crowdTurns   = 3

	// crowdLimit is much longer than all turns take one after the other.
	crowdLimit = 5 * time.Minute
)

// run has callers acquire random keys in random orders while a minority of the nodes fails, in
// changing ways. The same nodes fail all the time, so no lock may be lost.
func (c *crowd) run(r *rig, random *rand.Rand, acquire acquirer) {
	c.inside = make(map[string]int)
	limit, cancel := context.WithTimeout(r.t.Context(), crowdLimit)
	defer cancel()
	var all sync.WaitGroup
	var lockers []*Locker
	for i := range crowdCallers {
		if i%3 != 2 { // some callers share a Locker
			lockers = append(lockers, r.locker(WithTTL(5*time.Second)))
		}
		l, random := lockers[len(lockers)-1], rand.New(rand.NewPCG(random.Uint64(), 0))
		all.Go(func() { c.caller(limit, l, random, acquire) })
	}
	stop := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() { r.trouble(random, stop) })
	all.Wait()
	close(stop)
	faults.Wait()
	r.clear()
	for _, l := range lockers {
		if err := l.Close(r.t.Context()); err != nil {
			r.t.Error(err)
		}
	}
	r.some("afterwards", nil, []string{"a", "b", "c", "d", "e", "f"})
	time.Sleep(11 * time.Minute) // a queue that a late request has made lives for 10
	r.empty()
}

// caller is one caller of the crowd.
func (c *crowd) caller(limit context.Context, l *Locker, random *rand.Rand, acquire acquirer) {
	for range crowdTurns {
		keys := []string{"a", "b", "c", "d", "e", "f"}
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		keys = keys[:1+random.IntN(4)]
		time.Sleep(time.Duration(random.Int64N(int64(3 * time.Second))))
		ctx, cancel := limit, context.CancelFunc(func() {})
		impatient := random.IntN(4) == 0
		if impatient {
			ctx, cancel = context.WithTimeout(limit, time.Duration(random.Int64N(int64(5*time.Second))))
		}
		ended, release, err := acquire(ctx, l, keys)
		cancel()
		if err != nil {
			if stuck := limit.Err() != nil; stuck || !impatient || !errors.Is(err, context.DeadlineExceeded) {
				c.fail(stuck, err)
			}
			continue
		}
		c.enter(keys)
		select {
		case <-time.After(time.Duration(random.Int64N(int64(8 * time.Second)))):
		case <-ended.Done():
			c.fail(false, fmt.Errorf("lost: %w", context.Cause(ended)))
		}
		c.leave(keys)
		if err := release(); err != nil {
			c.fail(false, err)
		}
	}
}

// trouble puts changing faults on a minority of the nodes.
func (r *rig) trouble(random *rand.Rand, stop <-chan struct{}) {
	faults := []faulty.Fault{
		faulty.LoseReply(nil), faulty.LoseRequest(nil), faulty.Refuse(nil), faulty.Hang(),
		faulty.Late(300 * time.Millisecond),
	}
	bad := random.Perm(len(r.fault))[:r.minority()]
	for {
		delay := faulty.Delay(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
		r.setAll(delay)
		for _, i := range bad {
			r.fault[i].Set(delay, faults[random.IntN(len(faults))])
		}
		select {
		case <-time.After(time.Duration(random.Int64N(int64(4 * time.Second)))):
		case <-stop:
			return
		}
	}
}

// Callers with overlapping sets of keys never wait for each other in a circle, exclude each other
// on each key, and leave nothing, whatever a minority of the nodes does.
func TestLockAllSchedules(t *testing.T) {
	const seeds = 2
	eachRig(t, func(t *testing.T, r *rig) {
		for seed := range seeds {
			var c crowd
			c.run(r, rand.New(rand.NewPCG(uint64(seed), 1)), byLockAll)
			if c.stuck > 0 || len(c.overlap) > 0 || len(c.wrong) > 0 {
				t.Errorf("seed %d: %d callers wait for ever; two callers at a time for %q; errors %v", seed, c.stuck, c.overlap, c.wrong)
			}
			if c.turns < crowdCallers*crowdTurns/2 {
				t.Errorf("seed %d: %d turns, want most of %d", seed, c.turns, crowdCallers*crowdTurns)
			}
		}
	})
}

// The schedules find callers that wait while they hold a key that sorts behind.
func TestLockAllSchedulesFindDeadlocks(t *testing.T) {
	for name, acquire := range map[string]acquirer{"in its own order": inItsOwnOrder, "keeps the rest": keepsTheRest} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 3} {
				onRig(t, size, false, func(t *testing.T, r *rig) {
					stuck := 0
					for seed := range 2 {
						var c crowd
						c.run(r, rand.New(rand.NewPCG(uint64(seed), 1)), acquire)
						stuck += c.stuck
					}
					if stuck == 0 {
						t.Errorf("%d nodes: no caller waits for ever", size)
					}
				})
			}
		})
	}
}

// The schedules find two callers that have the same key.
func TestLockAllSchedulesFindOverlaps(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		var c crowd
		c.run(r, rand.New(rand.NewPCG(1, 1)), func(ctx context.Context, l *Locker, keys []string) (context.Context, func() error, error) {
			return byLockAll(ctx, l, keys[:1]) // although the caller believes to have them all
		})
		if len(c.overlap) == 0 {
			t.Error("no overlap was found")
		}
	})
}
