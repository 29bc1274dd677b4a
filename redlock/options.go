package redlock

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// An Option sets up a [Locker]. Where two set the same, the later one counts, except that
// the hooks of all [WithHooks] are called.
type Option interface{ applyLocker(*settings) error }

// A DerivedOption sets up a [Locker] that [Locker.With] returns, or one that [New] returns.
type DerivedOption interface {
	Option
	derives()
}

// A LockOption changes one call's way of locking.
type LockOption interface{ applyLock(*callSettings) error }

// A ResumeOption changes one [Locker.Resume].
type ResumeOption interface{ applyResume(*callSettings) error }

// An AcquireOption is a default when it is given to [New] or [Locker.With], and holds for one
// call when it is given to that. A call rejects an option that would have no effect on it,
// before any I/O: [Locker.TryLock] for example rejects [WithWait].
type AcquireOption interface {
	DerivedOption
	LockOption
}

// A SharedOption is an [AcquireOption] that [Locker.Resume] takes too.
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

// settings is what a Locker was set up with, callSettings the part of it that a
// call may change.
type settings struct {
	prefix      string
	nodeTimeout time.Duration // 0: the default
	drift       float64
	need        int
	announce    func(key string) string
	counterLife time.Duration // 0: for ever
	quarantine  time.Duration // 0: none
	logger      *slog.Logger
	hooks       Hooks
	call        callSettings
}

type callSettings struct {
	ttl        time.Duration
	owner      string
	retry      RetryPolicy
	patience   time.Duration // with nodes that are unavailable; 0: one TTL
	wait       time.Duration // 0: no limit; once: a single attempt
	autoExtend bool
	maxHold    time.Duration // 0: no limit
	minHold    time.Duration // 0: none
	fencing    bool
	reentrant  bool

	given given // to this call or Locker itself
}

// given is the options that were given to a call itself, of those that some calls would
// ignore. Defaults need not matter to every call.
type given uint8

const (
	givenRetry given = 1 << iota
	givenWait
	givenPatience
	givenMaxHold
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

// WithTTL sets how long a lock lives on the servers unless it is extended, so
// how long others wait after a holder has died. Default [DefaultTTL]. It counts
// in whole milliseconds, a fraction is dropped, and must be longer than the drift
// allowance (1 % and 2 ms), or no validity would be left.
func WithTTL(ttl time.Duration) SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.ttl = ttl.Truncate(time.Millisecond)
		return checkTTL(ttl)
	}}
}

// WithOwner puts a label in front of the random part of each token, for
// [Locker.Inspect] to show: a host name, a process id. The one that is given to New is
// also in the name of the channel on which the Locker is called, and shown where it
// waits. It is not secret. It must not begin with "~". Default none.
func WithOwner(label string) AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.owner = label
		if _, reserved := proto.Reserved(label); reserved {
			return fmt.Errorf("an owner label of %s: must not begin with ~, which marks reservations", text.Quote(label))
		}
		return nil
	})
}

// WithRetry has [Locker.Lock] and [Locker.Do] poll: try again at the pace of p
// after a try that failed, be it because the lock is taken or because nodes are not
// available. Such a caller does not queue: nobody calls it, and those that do queue
// come first.
//
// By default they wait to be called while the lock is taken, until ctx ends (see
// [Locker.Lock]). Where nodes cannot call, or are not available, they poll too, with
// a random pause that grows up to a quarter of a second, for one TTL at most while too
// many nodes are unavailable ([WithPatience]). With a policy they go on until it or ctx ends, whatever
// the reason. Servers that refuse for good, because of a wrong password for instance,
// end either at once. The pause before ctx's deadline is cut short, for a last try. A call that
// does not wait rejects it.
func WithRetry(p RetryPolicy) AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.retry = p
		s.given |= givenRetry
		return p.err
	})
}

// once is a wait of 0: a single attempt.
const once time.Duration = -1

// WithWait bounds how long [Locker.Lock], [Locker.Do] and [Mutex.Lock] wait for the
// lock. It does not bound how long the lock is held, nor what [Locker.Do] runs. If ctx
// ends first, it bounds the wait too. Default: ctx alone does.
//
// When d is over, the error matches [ErrTaken] or [ErrUnavailable], and no error of a
// ctx. A last attempt is made shortly before. The first attempt of a call does not count
// as waiting: it may take up to the node timeout, however short d is. A d of 0 allows
// that one attempt only, as [Locker.TryLock] and [Locker.TryDo] do, which reject a longer one.
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

// Forever is a time that does not end: see [WithPatience].
const Forever time.Duration = math.MaxInt64

// WithPatience sets for how long [Locker.Lock] and [Locker.Do] wait while too many nodes are
// unavailable, before they return [ErrUnavailable]. With [Forever] they wait for as long as
// ctx and [WithWait] let them. They keep their places in the queues meanwhile, and ask again
// when nodes answer. Default one TTL.
//
// The time counts from when any call of this Locker has found the nodes unavailable, or from
// the beginning of the call if that is later. Nodes that are unavailable for less do not
// matter, however often. Nodes that refuse for good, for instance because of a wrong password,
// end the call at once all the same. It cannot be combined with [WithRetry], which has a limit
// of its own, and a call that does not wait rejects it.
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

// WithAutoExtend lets a lock extend itself until it is unlocked or lost: at a
// third of its TTL, with some jitter, and again soon after an attempt that
// failed, as long as it is valid. If it cannot, the contexts of the lock end
// before the lock does, with the cause; [Hooks.Lost] and the logger are told.
// Any number of locks may do so: while none is due they are one timer together.
// A holder that hangs holds such a lock for ever: see [WithMaxHold].
func WithAutoExtend() SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.autoExtend = true
		return nil
	}}
}

// WithMaxHold ends the extensions of [WithAutoExtend] and [Locker.Do] so that a
// lock expires at the latest when it has been held for d, which must not be
// shorter than the TTL. [Lock.Extend] is not limited. A call that is given it, and does not
// extend its lock, rejects it. Default no limit.
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

// WithMinHold keeps a lock on the nodes for at least d, counted from just before the attempt
// that acquired it. It is for work that must run once in a period on any of several machines:
// without it the lock is free as soon as the work has ended, and a machine whose clock is
// behind does the work again. A lock is no schedule, however: docs/schedules.md has a recipe.
//
//   - A lock that is unlocked earlier stays taken for the rest of d, for everybody, this
//     process included. Unlock ends it for its owner, asks no node, and returns nil, or how the
//     lock was lost. When d is over it is deleted in the background, and the next waiter is
//     notified.
//   - If the process has ended or called [Locker.Close] or [Locker.Shutdown] before d is over,
//     the lock expires: not before d, and not later than one TTL after its last extension.
//   - A lock with a TTL that is shorter than d is acquired with one of d and the drift
//     allowance. Extensions, automatic ones too, have the TTL of [WithTTL].
//   - A call that fails leaves nothing behind, and [Locker.Release] deletes at once.
//
// It makes no other promises than a lock does: nodes that lose their data forget it. A
// nested call ([WithReentrancy]) extends what it enters so that it stays for d from then on.
// With [Locker.Resume] d counts from that call. d counts in whole milliseconds, rounded up. It
// must not be longer than [WithMaxHold]; what limits a TTL, such as [WithQuarantine], limits d.
// Default none.
func WithMinHold(d time.Duration) SharedOption {
	return sharedOption{func(s *callSettings) error {
		s.minHold = (d + time.Millisecond - 1).Truncate(time.Millisecond)
		if d <= 0 {
			return fmt.Errorf("a minimum hold of %v: must be positive", d)
		}
		return nil
	}}
}

// WithFencing gives each lock a fencing token, [Lock.Fence]: a number for the resource
// that the lock protects, which refuses whoever comes with a lower one than it has seen
// (package fence does that). So a holder that was paused, and writes after its lock has
// expired and somebody else has got it, is refused.
//
// No two locks of a key have the same token, and a lock that was asked for after another
// was granted has a higher one. That holds whatever clocks, pauses, expiries and the
// network do, as long as nodes keep the counters that they have acknowledged: a token is
// a value to which a quorum of nodes have moved their counters, each up and from below,
// and any two quorums share a node. Of locks that were asked for at the same time
// either may have the higher token, the one that was granted first too.
//
// Where nodes lose counters (a restart without persistence, an eviction, [WithCounterLife]),
// their clocks step in, for counters are near the time in microseconds since 1970, and
// never follow a client by more than 250 ms: a lock that is asked for later than half a
// second, and twice what the nodes' clocks are off, after another was granted, still has a
// higher token. Those of locks closer to each other than that may be equal, or the wrong way
// round, unless [WithQuarantine] is set.
//
// A token costs no round trip, as long as a quorum of nodes vote for the same value:
// the Locker learns from their answers how far its own clock is off. Where they do not, as
// after a node was away, a second round puts that right, for which a call waits for up
// to the node timeout again; if it fails, so does the try. There is no lock without its
// token. Extensions keep it.
//
// All nodes must run scripts (backend.Scripter), and a key with braces needs a hash tag:
// otherwise New, if it is given this, or the call returns an error before any I/O. Each
// node keeps a counter, for "orders/42" at "orders/42{orders/42}:fence". On a key with
// tokens everybody must ask for them: a lock without one, of this library or of
// another, excludes the others, but the resource cannot tell its writes. Default no tokens.
func WithFencing() AcquireOption {
	return acquireOption(func(s *callSettings) error {
		s.fencing = true
		return nil
	})
}

// mostFence is as far as counters go (package lua).
const mostFence = 1<<53 - 1

// WithCounterLife sets for how long the counters of [WithFencing] are kept after a key was
// last locked or extended; 0 means for ever. It must be longer than the TTL by a minute
// at least. Default [DefaultCounterLife]. With 0 a key that is never used again leaves its
// counter on the servers, but tokens do not rest on clocks there.
func WithCounterLife(d time.Duration) Option {
	return lockerOption(func(s *settings) error {
		s.counterLife = d.Truncate(time.Millisecond)
		if d < 0 || d > 0 && d < counterSlack {
			return fmt.Errorf("a counter life of %v: must be 0, for ever, or longer than the TTL by %v", d, counterSlack)
		}
		return nil
	})
}

// counterSlack is by how much counters outlive a lease at least: more than the clocks of
// nodes that can be used for fencing are apart.
const counterSlack = time.Minute

// WithQuarantine has a node that may have lost what it had granted vote for no lock for
// so long: neither its lost locks nor, with [WithFencing], its lost tokens come back to
// somebody else before they have ended. A node sees that for itself, in the script that
// would grant: when it was started, with whatever data, when everything on it was
// deleted, and when a replica has taken its place; a new node, and one that is asked so
// for the first time, begins in quarantine too. It ends by itself.
// Meanwhile the node extends and releases locks that it has; its [Outcome] is
// [Quarantined]. If too many are in quarantine for a quorum, Lock and Do wait until it
// ends, or ctx; TryLock, and a call with a policy of its own that gives up before
// ([WithRetry]), return [ErrUnavailable].
//
// It must be longer than the TTL by a second at least, that of New and of each call, or
// these return an error before any I/O, and longer than the longest TTL that anybody
// uses on these nodes: everybody should set the same. The clocks of nodes may then be
// off by half of what it is longer than the TTL, less 250 ms. It does not help where
// some keys go and others stay, as by an eviction, nor those who lock without it.
//
// Every acquisition is a script then. All nodes must run scripts (backend.Scripter), tell
// their run_id by INFO, and be one server each, not a Cluster, else New or the call fails.
// Each keeps a key that never expires, "redlock:marker", with the prefix of
// [WithKeyPrefix]. Default none.
func WithQuarantine(d time.Duration) Option {
	return lockerOption(func(s *settings) error {
		s.quarantine = d.Truncate(time.Millisecond)
		if d <= 0 {
			return fmt.Errorf("a quarantine of %v: must be longer than the TTL by %v", d, quarantineSlack)
		}
		return nil
	})
}

// WithKeyPrefix puts prefix in front of every key, and of the name of the channel on
// which the Locker is called, for access rules that go by them. Default none, so that
// a lock excludes the holders of other libraries which use the bare key.
func WithKeyPrefix(prefix string) Option {
	return lockerOption(func(s *settings) error {
		s.prefix = prefix
		return nil
	})
}

// WithNodeTimeout sets how long a call waits for a node before it counts it as failed. New
// rejects one that exceeds an eighth of the Locker's TTL. A call with a shorter TTL of its own
// waits for an eighth of that. Default [DefaultNodeTimeout], or an eighth of the TTL if that
// is shorter.
//
// If it is too short, a slow moment of the network makes locks fail. If it is too long, an
// attempt that meets a majority of hanging nodes takes as long.
//
// The first call on a node makes a connection too, which takes two or more round trips.
// On a slow network open the connections first, as the example of [backend.Node] shows.
func WithNodeTimeout(d time.Duration) Option {
	return lockerOption(func(s *settings) error {
		s.nodeTimeout = d
		if d <= 0 {
			return fmt.Errorf("a node timeout of %v: must be positive", d)
		}
		return nil
	})
}

// WithDrift sets by how much clocks may differ in rate, as a share of the time
// that passes, from 0 up to but not including 1. The validity of a lock is
// shorter than its TTL by that share and 2 ms. Default [DefaultDrift].
func WithDrift(share float64) Option {
	return lockerOption(func(s *settings) error {
		s.drift = share
		if !(share >= 0 && share < 1) {
			return fmt.Errorf("a drift of %v: must be at least 0 and less than 1", share)
		}
		return nil
	})
}

// WithQuorum asks for more nodes than a majority, up to all of them. Locks then
// survive the loss of data on some nodes, and fail when fewer nodes are down.
// Default a majority.
func WithQuorum(nodes int) Option {
	return lockerOption(func(s *settings) error {
		s.need = nodes
		if nodes < 1 {
			return fmt.Errorf("a quorum of %d: must be a majority of the nodes at least", nodes)
		}
		return nil
	})
}

// WithAnnounce has each release of a lock announced besides: every node on which it
// is released publishes "ok" on the channel that prefix and the key (with that of
// [WithKeyPrefix]) make. It is for waiters of another library on the same keys: those of
// redis-lock-py listen with the prefix "rlock-channel:", and without it notice a release
// only when they poll. Default "", no announcement.
//
// It costs a node one PUBLISH for each release. Who waits with this library does not
// need it, and is called before: an announcement says that it is worth a try, not
// that the lock is free. A lock that expires is not announced, nor is one that is
// released on a node which keeps no queue for it (see [Locker.Lock]) or forbids the
// channel.
func WithAnnounce(prefix string) Option {
	return lockerOption(func(s *settings) error {
		s.announce = nil
		if prefix != "" {
			s.announce = func(key string) string { return prefix + key }
		}
		return nil
	})
}

// WithLogger sets where the Locker logs what nobody is told by an error: locks
// that were lost, automatic extensions and cleanups that failed, nodes that do not let
// waiters queue. Default nowhere. Tokens are never logged.
func WithLogger(logger *slog.Logger) DerivedOption {
	return derivedOption(func(s *settings) error {
		s.logger = logger
		if logger == nil {
			return errors.New("a logger that is nil")
		}
		return nil
	})
}

// WithHooks adds functions that are told what the Locker does. Given several times, also to
// [New] and then to [Locker.With], all of them are called, in that order. Default none.
func WithHooks(h Hooks) DerivedOption {
	return derivedOption(func(s *settings) error {
		s.hooks = s.hooks.and(h)
		return nil
	})
}

// with returns the settings of a call with opts.
func (s callSettings) with(opts []LockOption) (callSettings, error) {
	s.given = 0
	for _, o := range opts {
		if o == nil {
			return s, errNilOption
		}
		if err := o.applyLock(&s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// resumed returns the settings of a Resume with opts, of a lock with that fencing token, or 0.
func (s callSettings) resumed(fence uint64, opts []ResumeOption) (callSettings, error) {
	s.given = 0
	for _, o := range opts {
		if o == nil {
			return s, errNilOption
		}
		if err := o.applyResume(&s); err != nil {
			return s, err
		}
	}
	if s.fencing && fence == 0 {
		return s, errors.New("no fencing token: the Locker has WithFencing, so the handover must have it")
	}
	s.fencing = fence > 0
	return s, nil
}

// once makes it the settings of a call that does not wait.
func (s callSettings) once() (callSettings, error) {
	if s.given&givenWait != 0 && s.wait != once {
		return s, fmt.Errorf("a wait of %v: the call does not wait", s.wait)
	}
	s.wait = once
	return s, nil
}

// checkGiven refuses an option that was given to a call which would ignore it.
func (s callSettings) checkGiven() error {
	switch {
	case s.wait == once && s.given&givenRetry != 0:
		return errors.New("a retry policy: the call does not wait")
	case s.wait == once && s.given&givenPatience != 0:
		return errors.New("a patience: the call does not wait")
	case !s.autoExtend && s.given&givenMaxHold != 0:
		return errors.New("a maximal hold: the lock does not extend itself (WithAutoExtend)")
	}
	return nil
}

// polls reports whether there is a retry policy.
func (s *callSettings) polls() bool { return s.retry.delay != nil || s.retry.tries != 0 }

var errNilOption = errors.New("an option that is nil")

// check refuses what is wrong with several settings together.
func (s *settings) check(c callSettings) error {
	if err := s.checkTTL(c.ttl); err != nil {
		return err
	}
	if c.minHold > 0 && c.minHold > longestHold {
		return fmt.Errorf("a minimum hold of %v: must be at most %v", c.minHold, longestHold)
	}
	if c.maxHold > 0 && c.maxHold < c.minHold {
		return fmt.Errorf("a maximal hold of %v: must not be shorter than the minimum hold, %v", c.maxHold, c.minHold)
	}
	if c.maxHold > 0 && c.maxHold < c.ttl {
		return fmt.Errorf("a maximal hold of %v: must not be shorter than the TTL, %v", c.maxHold, c.ttl)
	}
	if c.given&givenPatience != 0 && c.polls() {
		return errors.New("a patience: the retry policy says how long the call goes on")
	}
	if c.fencing {
		if err := s.checkCounterLife(s.lease(c)); err != nil {
			return err
		}
	}
	return s.checkQuarantine(s.lease(c))
}

// longestHold is as long as a minimum hold can be: a server has to count it.
const longestHold = 10 * 365 * 24 * time.Hour

// checkCounterLife refuses a TTL during which counters may end.
func (s *settings) checkCounterLife(ttl time.Duration) error {
	if s.counterLife > 0 && s.counterLife-counterSlack < ttl {
		return fmt.Errorf("a TTL of %v with fencing: counters live for %v, and must live longer than that by %v",
			ttl, s.counterLife, counterSlack)
	}
	return nil
}

// checkTTL refuses what is not positive in whole milliseconds.
func checkTTL(ttl time.Duration) error {
	switch {
	case ttl <= 0:
		return fmt.Errorf("a TTL of %v: must be positive", ttl)
	case ttl < time.Millisecond:
		return fmt.Errorf("a TTL of %v: must be at least 1ms", ttl)
	}
	return nil
}

// checkTTL refuses a TTL that leaves no validity.
func (s *settings) checkTTL(ttl time.Duration) error {
	if valid := ttl - s.driftOf(ttl); valid <= 0 {
		return fmt.Errorf("a TTL of %v leaves no validity: the drift allowance is %v", ttl, s.driftOf(ttl))
	}
	return nil
}

// driftOf is what a lease of ttl is cut by for clocks that do not run at the same
// rate: a share of it, and 2 ms because servers count in milliseconds.
func (s *settings) driftOf(ttl time.Duration) time.Duration {
	return time.Duration(float64(ttl)*s.drift) + 2*time.Millisecond
}

// timeout is how long a round for a lease of ttl waits for a node.
func (s *settings) timeout(ttl time.Duration) time.Duration { return min(s.nodePatience(), ttl/8) }

// nodePatience is how long a call waits for a node if the TTL allows that.
func (s *settings) nodePatience() time.Duration { return cmp.Or(s.nodeTimeout, DefaultNodeTimeout) }
