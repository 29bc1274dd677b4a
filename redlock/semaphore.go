package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// MaxPermits is the largest number of permits of a [Semaphore].
const MaxPermits = proto.MostSlots

// A Semaphore is a lock that up to n callers may hold at the same time, in all processes
// together. Each holder has a permit, which is a [Lock] on one of n slots. A slot is
// granted by a quorum like any lock, so there are never more than n holders. Callers that
// find no permit wait in one queue, first come, first served, and are notified.
//
// The methods may be called concurrently. The permits of a key have nothing to do with
// the lock on that key. All users of a key should agree on n: a larger n elsewhere adds
// slots. See docs/waiting.md.
type Semaphore struct {
	locker *Locker
	key    string
	n      int
	opts   []LockOption
	slots  *quorum.Slots
}

// Semaphore returns the Semaphore with n permits on key, from 1 to [MaxPermits]. opts
// apply to each permit. It does no I/O; a bad key, number or option is an error of its
// methods. A key with braces but no hash tag has no permits.
//
// Make one Semaphore for a key and use it again, because it remembers which slots this
// process has released. They are most likely free.
func (l *Locker) Semaphore(key string, n int, opts ...LockOption) *Semaphore {
	return &Semaphore{locker: l, key: key, n: n, opts: append([]LockOption(nil), opts...), slots: quorum.NewSlots(n)}
}

// Acquire waits until it has a permit. It waits like [Locker.Lock], with the same options
// and errors, and an error leaves nothing behind. Each call acquires another permit, also
// if ctx belongs to a permit already, so callers that acquire several may wait for each
// other.
//
// A permit has everything that a lock has. [Lock.Unlock] releases it. [Lock.Key] is the
// key of its slot, such as "jobs{jobs}:permits:2", with which [Locker.Inspect] and
// [Locker.Break] can be called, and a [Handover] names it too. With [WithFencing] each slot
// has tokens of its own: they order the holders of one slot, not those of different slots.
// So a resource must compare a token only with those of the same Key. Hooks get the key of
// the slot, or that of the Semaphore if there is no permit yet.
func (s *Semaphore) Acquire(ctx context.Context) (*Lock, error) { return s.acquire(ctx, s.opts, false) }

// TryAcquire acquires a permit if one is free, and does not wait. If none is, the error
// matches [ErrTaken]. It tries one slot, asks all nodes which slots are free if that one
// is taken, and then tries up to three others. To ask takes the node timeout at most, and
// each attempt as long as [Locker.TryLock]. Otherwise it is like TryLock.
func (s *Semaphore) TryAcquire(ctx context.Context) (*Lock, error) {
	return s.acquire(ctx, s.opts, true)
}

// Do holds a permit while fn runs. It waits like [Semaphore.Acquire], and is otherwise
// like [Locker.Do].
func (s *Semaphore) Do(ctx context.Context, fn func(context.Context) error) error {
	if s.locker == nil {
		return errZero
	}
	return s.locker.do(ctx, s.key, fn, s.opts, func(ctx context.Context, _ string, opts ...LockOption) (*Lock, error) {
		return s.acquire(ctx, opts, false)
	})
}

// inspections is how many slots Inspect and InUse look at at a time.
const inspections = 16

// Inspect returns who holds each slot, in their order, and who waits for a permit: all
// slots have one queue, so the waiters are the same in each Status. It asks each node
// about each slot, some of them at a time, so the whole is not of one moment. Otherwise
// it is like [Locker.Inspect].
func (s *Semaphore) Inspect(ctx context.Context) ([]Status, error) {
	name, err := s.inspectable(ctx)
	if err != nil {
		return nil, err
	}
	slots := make([]int, s.n)
	for i := range slots {
		slots[i] = i + 1
	}
	return s.inspect(ctx, name, slots)
}

// InUse returns those slots that are not free, in their order, as Inspect does. It asks
// each node once about all slots, and then only about those that some node has. So with
// [MaxPermits] it finds the permits of users whatever number they agreed on.
//
// The first step takes the node timeout at most, and so does each further one, for some
// slots at a time. If too few nodes answer in the first step, the error is a
// [*QuorumError] that matches [ErrUnavailable] and says why. Otherwise it is like
// [Locker.Inspect].
func (s *Semaphore) InUse(ctx context.Context) ([]Status, error) {
	name, err := s.inspectable(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	survey, votes := inspect.Slots(ctx, s.locker.group, name, s.n, "", s.locker.settings.NodeTimeout)
	if err := s.locker.checkContext(ctx, "inspect", s.key); err != nil {
		return nil, err
	}
	if report := newReport(s.locker.group, votes); report.Count(Granted) < s.locker.group.Need() {
		return nil, &QuorumError{
			Op: "inspect", Key: s.locker.settings.prefix + s.key, Need: s.locker.group.Need(), Tries: 1, Rounds: []Report{report},
			Elapsed: time.Since(start), class: ErrUnavailable, detail: "too few nodes tell which permits are in use",
		}
	}
	all, err := s.inspect(ctx, name, survey.Taken())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s Status) bool { return s.State == StateFree }), nil
}

// inspectable makes the checks of Inspect, and returns the name of the permits.
func (s *Semaphore) inspectable(ctx context.Context) (string, error) {
	const op = "inspect"
	name, err := s.name(op)
	if err != nil {
		return "", err
	}
	return name, s.locker.checkContext(ctx, op, s.key)
}

// inspect looks at these slots.
func (s *Semaphore) inspect(ctx context.Context, name string, slots []int) ([]Status, error) {
	all, errs := make([]Status, len(slots)), make([]error, len(slots))
	var (
		looks sync.WaitGroup
		turn  = make(chan struct{}, inspections)
	)
	for i, slot := range slots {
		turn <- struct{}{}
		looks.Go(func() {
			all[i], errs[i] = s.locker.inspect(ctx, proto.SlotKey(name, slot))
			<-turn
		})
	}
	looks.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// name checks what all methods need, and returns the name of the permits on the servers.
func (s *Semaphore) name(op string) (string, error) {
	if err := s.locker.check(op, s.key); err != nil {
		return "", err
	}
	fullKey := s.locker.settings.prefix + s.key
	if s.n < 1 || s.n > MaxPermits {
		return "", fmt.Errorf("redlock: %s %s: %d permits: must be from 1 to %d", op, text.Quote(fullKey), s.n, MaxPermits)
	}
	name, ok := proto.PermitsKey(fullKey)
	if !ok {
		return "", fmt.Errorf("redlock: %s %s: a key with braces but no hash tag has no permits, since no name that begins with the key shares its slot: choose another key",
			op, text.Quote(fullKey))
	}
	return name, nil
}

var errNested = errors.New("re-entrancy: each call acquires another permit")

func (s *Semaphore) acquire(ctx context.Context, opts []LockOption, try bool) (*Lock, error) {
	const op = "acquire"
	name, err := s.name(op)
	if err != nil {
		return nil, err
	}
	settings, err := s.locker.lockSettings(opts, try)
	if err == nil && settings.given&givenReentrancy != 0 {
		err = errNested
	}
	c, err := s.locker.prepare(ctx, op, s.key, settings, err)
	if err != nil {
		return nil, err
	}
	c.settings.reentrant = false
	c.permits, c.slots = name, s.slots
	if c.fencing != nil {
		if c.fencing, err = s.locker.group.Fencing(name); err != nil {
			return c.done(nil, fmt.Errorf("redlock: %s %s: %w", op, text.Quote(c.fullKey), err))
		}
	}
	return c.done(c.lock(ctx))
}
