package redlock

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// An Option sets up a [Locker]. If two options set the same thing, the later one counts.
// [WithHooks] is different: the hooks of all of them are called.
type Option interface{ applyLocker(*settings) error }

// A DerivedOption sets up a [Locker] that [New] or [Locker.With] returns.
type DerivedOption interface {
	Option
	derives()
}

// A LockOption applies to one call that locks.
type LockOption interface{ applyLock(*callSettings) error }

// A ResumeOption applies to one [Locker.Resume].
type ResumeOption interface{ applyResume(*callSettings) error }

// An AcquireOption sets a default if it is given to [New] or [Locker.With], and applies
// to one call if it is given to that call. A call rejects an option that would have no
// effect on it, before any I/O. For example, [Locker.TryLock] rejects [WithRetry].
type AcquireOption interface {
	DerivedOption
	LockOption
}

// A SharedOption is an [AcquireOption] that [Locker.Resume] accepts too.
type SharedOption interface {
	AcquireOption
	ResumeOption
}

// Defaults of a [Locker].
const (
	DefaultTTL         = 10 * time.Second       // see [WithTTL]
	DefaultNodeTimeout = 250 * time.Millisecond // see [WithNodeTimeout]
	DefaultDrift       = 0.01                   // see [WithDrift]
	DefaultCounterLife = 24 * time.Hour         // see [WithCounterLife]
)

type lockerOption func(*settings) error

func (o lockerOption) applyLocker(s *settings) error { return o(s) }

type derivedOption func(*settings) error

func (o derivedOption) applyLocker(s *settings) error { return o(s) }
func (derivedOption) derives()                        {}

type acquireOption func(*callSettings) error

func (o acquireOption) applyLocker(s *settings) error   { return o(&s.call) }
func (acquireOption) derives()                          {}
func (o acquireOption) applyLock(s *callSettings) error { return o(s) }

type sharedOption struct{ acquireOption }

func (o sharedOption) applyResume(s *callSettings) error { return o.acquireOption(s) }

// WithTTL sets how long a lock lives on the servers unless it is extended. That is also
// how long others wait after a holder has died. Default [DefaultTTL].
//
// The TTL counts in whole milliseconds; a fraction is dropped. It must be longer than the
// drift allowance (1 % and 2 ms), because otherwise no validity would be left, and at most
// 10 years (87600 hours).
func WithTTL(ttl time.Duration) SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.ttl = ttl.Truncate(time.Millisecond)
		return checkTTL(ttl)
	}}
}

// WithOwner puts a label, such as a host name or a process id, in front of the random
// part of each token. [Locker.Inspect] shows it. The label must not begin with "~", and
// it is not secret. Default none.
//
// The label given to New is also part of the name of the channel on which the Locker is
// notified, so Inspect shows it while the Locker waits.
func WithOwner(label string) AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.owner = label
		if _, reserved := proto.Reserved(label); reserved {
			return fmt.Errorf("an owner label of %s: must not begin with ~, which marks reservations", text.Quote(label))
		}
		return nil
	})
}

// WithRetry makes [Locker.Lock] and [Locker.Do] poll: after a failed attempt they try
// again at the pace of p, until p or ctx ends, whether the lock is taken or nodes are
// unavailable. Such a caller joins no queue and is not notified, so queued waiters get
// the lock first. Default: callers wait in a queue (see [Locker.Lock]).
//
// Beside callers that queue on a busy key, a caller that polls may never get the lock,
// because a released lock is reserved for the next in the queue and so is never free.
// WithRetry(Fixed(d).Limit(5)), the literal translation of redsync's options, got no lock
// in 29 attempts beside one such caller. Limit the wait with ctx or [WithWait] instead,
// and add [RetryPolicy.ThenQueue]. Polling suits locks for which callers of another
// library poll too: see docs/migrating/rollout.md.
//
// The last pause before ctx's deadline is shortened, so that there is time for one more
// attempt. If servers refuse for good, for example because of a wrong password, the call
// ends at once. A call that does not wait rejects this option. See docs/options.md.
func WithRetry(p RetryPolicy) AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.retry = p
		s.given |= givenRetry
		return p.err
	})
}

// once is a wait of 0: a single attempt.
const once time.Duration = -1

// WithWait limits how long [Locker.Lock], [Locker.Do] and [Mutex.Lock] wait for the lock.
// It limits neither the hold nor the function of Do. If ctx ends first, the wait ends
// then. Default: only ctx limits the wait.
//
// When d is over, the error matches [ErrTaken] or [ErrUnavailable], and no error of a
// ctx. The first attempt does not count as waiting, and may take as long as
// [Locker.TryLock]. A d of 0 allows only that attempt. TryLock and [Locker.TryDo] accept 0,
// and reject any other value. See docs/options.md.
func WithWait(d time.Duration) AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.wait = d
		s.given |= givenWait
		if d == 0 {
			s.wait = once
		}
		if d < 0 {
			return fmt.Errorf("a wait of %v: must not be negative", d)
		}
		return nil
	})
}

// Forever is a duration that never ends: see [WithPatience].
const Forever time.Duration = math.MaxInt64

// WithPatience sets how long [Locker.Lock] and [Locker.Do] wait while too many nodes are
// unavailable, before they return [ErrUnavailable]. Callers keep their places in the
// queues, and ask again when nodes answer. Default one TTL. With [Forever], only ctx and
// [WithWait] limit the wait.
//
// Shorter outages do not count, however many there are. If nodes refuse for good, for
// example because of a wrong password, the call ends at once. A call that does not wait
// rejects this option, and so does one with [WithRetry]. See docs/options.md.
func WithPatience(d time.Duration) AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.patience = d
		s.given |= givenPatience
		if d <= 0 {
			return fmt.Errorf("a patience of %v: must be positive", d)
		}
		return nil
	})
}

// WithAutoExtend makes a lock extend itself until it is unlocked or lost. It extends at a
// third of the TTL, with some jitter, and soon again after a failed attempt while the
// lock is valid. Default off; [Locker.Do] turns it on.
//
// If no extension succeeds, the contexts of the lock end before the lock does, with the
// cause, and [Hooks.Lost] and the logger report it. Any number of locks can extend
// themselves: they share one timer while none is due. A holder that hangs keeps such a
// lock for ever unless [WithMaxHold] is set.
func WithAutoExtend() SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.autoExtend = true
		return nil
	}}
}

// WithMaxHold stops the extensions of [WithAutoExtend] and [Locker.Do], so that a lock
// expires at the latest when it has been held for d. [Lock.Extend] is not limited.
// Default no limit.
//
// d must not be shorter than the TTL. A call that is given this option, and does not
// extend its lock, rejects it.
func WithMaxHold(d time.Duration) SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.maxHold = d
		s.given |= givenMaxHold
		if d <= 0 {
			return fmt.Errorf("a maximal hold of %v: must be positive", d)
		}
		return nil
	}}
}

// WithMinHold keeps a lock on the nodes for at least d, counted from just before the
// attempt that acquired it. It is for jobs that must run once in a period on any of
// several machines: docs/schedules.md has a recipe. Before d is over, Unlock ends the
// lock for its owner only. It asks no node, and returns nil, or how the lock was lost.
// The lock is deleted in the background when d is over.
//
// d counts in whole milliseconds, rounded up. It must not be longer than [WithMaxHold],
// and it is subject to the same limits as a TTL, such as [WithQuarantine] and 10 years.
// Nodes that lose their data forget it. Default none. See docs/options.md for what happens
// when the process ends first.
func WithMinHold(d time.Duration) SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.minHold = (d + time.Millisecond - 1).Truncate(time.Millisecond)
		if d <= 0 {
			return fmt.Errorf("a minimum hold of %v: must be positive", d)
		}
		if d > longestTTL {
			return fmt.Errorf("a minimum hold of %v: must be at most %v", d, longestTTL)
		}
		return nil
	}}
}

// WithFencing gives each lock a fencing token: a number that the protected resource uses
// to reject late writes. [Lock.Fence] and [FenceFromContext] return it, and package fence
// has the resource's part. No two locks of a key have the same token, and a lock that was
// requested after another was granted has a higher one, as long as the nodes keep the
// counters that they have acknowledged. Default no tokens.
//
// All nodes must run scripts (backend.Scripter), and a key with braces needs a hash tag.
// Otherwise New, if it is given this option, or the call returns an error before any I/O.
// Everybody who locks the key must use tokens. If nodes disagree on the number, a second
// round follows, which may take up to another node timeout; if that fails, so does the
// attempt, because a lock is never granted without its token. See docs/fencing.md.
func WithFencing() AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.fencing = true
		s.given |= givenFencing
		return nil
	})
}

// WithCounterLife sets how long nodes keep the counters of [WithFencing] after a key was
// last locked or extended. It must be at least a minute longer than the TTL. Default
// [DefaultCounterLife].
//
// 0 means for ever. Tokens then do not depend on clocks, but each key that is never used
// again leaves its counter on the servers. All Lockers of a key should have the same value,
// because the last one to lock or extend it decides.
func WithCounterLife(d time.Duration) Option {
	return lockerOption(func(s *settings) error {
		s.counterLife = d.Truncate(time.Millisecond)
		if d < 0 || d > 0 && d < counterSlack {
			return fmt.Errorf("a counter life of %v: must be 0, for ever, or longer than the TTL by %v", d, counterSlack)
		}
		return nil
	})
}

// counterSlack is how much longer than a lease a counter must live. It is more than the
// clocks of nodes that can be used for fencing differ.
const counterSlack = time.Minute

// WithQuarantine stops a node that may have lost data from granting locks for d. So a
// lost lock, and with [WithFencing] a lost token, has ended before anybody else can get
// it. The node decides this by itself: after a start, after all its data was deleted,
// after a replica has taken its place, and when it is new. Meanwhile it extends and
// releases the locks that it has, and its [Outcome] is [Quarantined]. If that leaves too
// few nodes for a quorum, Lock and Do wait; TryLock, and a call whose [WithRetry] gives
// up first, return [ErrUnavailable]. Default none.
//
// d must be at least a second longer than every TTL in use on these nodes; everybody
// should set the same. A shorter one is an error before any I/O. All nodes must run
// scripts (backend.Scripter), tell their run_id by INFO, and be single servers, not a
// Cluster; otherwise New or the call fails. See docs/safety.md for the clocks that this
// assumes, for what it costs, and for what it does not cover.
func WithQuarantine(d time.Duration) Option {
	return lockerOption(func(s *settings) error {
		s.quarantine = d.Truncate(time.Millisecond)
		if d <= 0 {
			return fmt.Errorf("a quarantine of %v: must be longer than the TTL by %v", d, quarantineSlack)
		}
		return nil
	})
}

// WithKeyPrefix puts prefix in front of every key, and in front of the name of the
// channel on which the Locker is notified, so that access rules can use it. Default none,
// so that locks exclude those of other libraries that use the bare key.
func WithKeyPrefix(prefix string) Option {
	return lockerOption(func(s *settings) error {
		s.prefix = prefix
		return nil
	})
}

// WithNodeTimeout sets how long a call waits for a node before it counts the node as
// failed. New rejects more than an eighth of the Locker's TTL. A call with a shorter TTL
// of its own waits for an eighth of that. Default [DefaultNodeTimeout], or an eighth of
// the TTL if that is shorter.
//
// If it is too short, a slow moment of the network makes locks fail. If it is too long,
// an attempt takes as long when a majority of the nodes hangs. The first call on a node
// also opens a connection, which takes two or more round trips. On a slow network open
// the connections first, as the example of [backend.Node] shows.
func WithNodeTimeout(d time.Duration) Option {
	return lockerOption(func(s *settings) error {
		s.nodeTimeout = d
		if d <= 0 {
			return fmt.Errorf("a node timeout of %v: must be positive", d)
		}
		return nil
	})
}

// WithDrift sets how much the rates of clocks may differ, as a share of the elapsed time,
// from 0 up to but not including 1. The validity of a lock is shorter than its TTL by
// that share and 2 ms. Default [DefaultDrift].
func WithDrift(share float64) Option {
	return lockerOption(func(s *settings) error {
		s.Drift = share
		if !(share >= 0 && share < 1) {
			return fmt.Errorf("a drift of %v: must be at least 0 and less than 1", share)
		}
		return nil
	})
}

// WithQuorum requires more nodes than a majority, up to all of them. Locks then survive
// the loss of data on some nodes, but fail when fewer nodes are down. Default a majority.
func WithQuorum(nodes int) Option {
	return lockerOption(func(s *settings) error {
		s.need = nodes
		if nodes < 1 {
			return fmt.Errorf("a quorum of %d: must be a majority of the nodes at least", nodes)
		}
		return nil
	})
}

// WithAnnounce makes each node publish "ok" when it releases a lock, on the channel whose
// name is prefix and the key (with the prefix of [WithKeyPrefix]). It is for waiters of
// another library that use the same keys: those of redis-lock-py listen with the prefix
// "rlock-channel:". Default "", no announcement.
//
// It costs a node one PUBLISH for each release. Waiters of this library are notified
// before, so an announcement says that an attempt is worthwhile, not that the lock is
// free. A lock is not announced if it expires, or if the node keeps no queue for it (see
// [Locker.Lock]) or forbids the channel.
func WithAnnounce(prefix string) Option {
	return lockerOption(func(s *settings) error {
		s.announce = nil
		if prefix != "" {
			s.announce = func(key string) string { return prefix + key }
		}
		return nil
	})
}

// WithLogger sets where the Locker logs what no error reports: lost locks, failed
// automatic extensions and cleanups, and nodes that do not let waiters queue. Tokens are
// never logged. Default nowhere.
func WithLogger(logger *slog.Logger) DerivedOption {
	return derivedOption(func(s *settings) error {
		s.Logger = logger
		if logger == nil {
			return errors.New("a logger that is nil")
		}
		return nil
	})
}

// WithHooks adds functions that observe the Locker. If it is given several times, also to
// [New] and then to [Locker.With], all hooks are called, in that order. Default none.
func WithHooks(h Hooks) DerivedOption {
	return derivedOption(func(s *settings) error {
		s.hooks = s.hooks.and(h)
		return nil
	})
}
