package redlock

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// An Option sets up a [Locker]. Where two set the same, the later one counts.
type Option interface{ applyLocker(*settings) error }

// A LockOption changes one call's way of locking.
type LockOption interface{ applyLock(*callSettings) error }

// A SharedOption is a default when it is given to [New], and holds for one call
// when it is given to that.
type SharedOption interface {
	Option
	LockOption
}

// Defaults of a [Locker].
const (
	DefaultTTL         = 10 * time.Second       // see [WithTTL]
	DefaultNodeTimeout = 250 * time.Millisecond // see [WithNodeTimeout]
	DefaultDrift       = 0.01                   // see [WithDrift]
)

// settings is what a Locker was set up with, callSettings the part of it that a
// call may change.
type settings struct {
	prefix      string
	nodeTimeout time.Duration
	drift       float64
	need        int
	logger      *slog.Logger
	hooks       Hooks
	call        callSettings
}

type callSettings struct {
	ttl        time.Duration
	owner      string
	retry      RetryPolicy
	autoExtend bool
	maxHold    time.Duration // 0: no limit
}

type lockerOption func(*settings) error

func (o lockerOption) applyLocker(s *settings) error { return o(s) }

type sharedOption func(*callSettings) error

func (o sharedOption) applyLocker(s *settings) error   { return o(&s.call) }
func (o sharedOption) applyLock(s *callSettings) error { return o(s) }

// WithTTL sets how long a lock lives on the servers unless it is extended, so
// how long others wait after a holder has died. Default [DefaultTTL]. It counts
// in whole milliseconds, a fraction is dropped, and must be longer than the drift
// allowance (1 % and 2 ms), or no validity would be left.
func WithTTL(ttl time.Duration) SharedOption {
	return sharedOption(func(s *callSettings) error {
		s.ttl = ttl.Truncate(time.Millisecond)
		return checkTTL(ttl)
	})
}

// WithOwner puts a label in front of the random part of each token, for
// [Locker.Inspect] to show: a host name, a process id. It is not secret. It
// must not begin with "~". Default none.
func WithOwner(label string) SharedOption {
	return sharedOption(func(s *callSettings) error {
		s.owner = label
		if strings.HasPrefix(label, "~") {
			return fmt.Errorf("an owner label of %q: must not begin with ~, which marks reservations", label)
		}
		return nil
	})
}

// WithRetry sets how [Locker.Lock] and [Locker.Do] go on after a try that
// failed, be it because the lock is taken or because nodes are not available.
//
// By default they pause for a random time that grows up to a quarter of a second.
// They go on until ctx ends while the lock is taken, and for one TTL while too
// many nodes are unavailable; with a policy until it or ctx ends, whatever the
// reason. Servers that refuse for good, because of a wrong password for instance,
// end either at once. The pause before ctx's deadline is cut short, for a last try.
func WithRetry(p RetryPolicy) SharedOption {
	return sharedOption(func(s *callSettings) error {
		s.retry = p
		return p.err
	})
}

// WithAutoExtend lets a lock extend itself until it is unlocked or lost: at a
// third of its TTL, with some jitter, and again soon after an attempt that
// failed, as long as it is valid. If it cannot, the contexts of the lock end
// before the lock does, with the cause; [Hooks.Lost] and the logger are told.
// A holder that hangs holds such a lock for ever: see [WithMaxHold].
func WithAutoExtend() SharedOption {
	return sharedOption(func(s *callSettings) error {
		s.autoExtend = true
		return nil
	})
}

// WithMaxHold ends the extensions of [WithAutoExtend] and [Locker.Do] so that a
// lock expires at the latest when it has been held for d, which must not be
// shorter than the TTL. [Lock.Extend] is not limited. Default no limit.
func WithMaxHold(d time.Duration) SharedOption {
	return sharedOption(func(s *callSettings) error {
		s.maxHold = d
		if d <= 0 {
			return fmt.Errorf("a maximal hold of %v: must be positive", d)
		}
		return nil
	})
}

// WithKeyPrefix puts prefix in front of every key. Default none, so that a lock
// excludes the holders of other libraries which use the bare key.
func WithKeyPrefix(prefix string) Option {
	return lockerOption(func(s *settings) error {
		s.prefix = prefix
		return nil
	})
}

// WithNodeTimeout sets how long a call waits for a node before it counts it as
// failed. It is an eighth of the TTL at most, whatever is set. Default
// [DefaultNodeTimeout]. Too short, and a slow moment of the network makes locks
// fail; too long, and a try that meets a majority of hanging nodes takes as long.
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

// WithLogger sets where the Locker logs what nobody is told by an error: locks
// that were lost, automatic extensions and cleanups that failed. Default nowhere.
// Tokens are never logged.
func WithLogger(logger *slog.Logger) Option {
	return lockerOption(func(s *settings) error {
		s.logger = logger
		if logger == nil {
			return errors.New("a logger that is nil")
		}
		return nil
	})
}

// WithHooks sets functions that are told what the Locker does. Default none.
func WithHooks(h Hooks) Option {
	return lockerOption(func(s *settings) error {
		s.hooks = h
		return nil
	})
}

// with returns the settings of a call with opts.
func (s callSettings) with(opts []LockOption) (callSettings, error) {
	for _, o := range opts {
		if o == nil {
			return s, errors.New("an option that is nil")
		}
		if err := o.applyLock(&s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// check refuses what is wrong with several settings together.
func (s *settings) check(c callSettings) error {
	if err := s.checkTTL(c.ttl); err != nil {
		return err
	}
	if c.maxHold > 0 && c.maxHold < c.ttl {
		return fmt.Errorf("a maximal hold of %v: must not be shorter than the TTL, %v", c.maxHold, c.ttl)
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
func (s *settings) timeout(ttl time.Duration) time.Duration { return min(s.nodeTimeout, ttl/8) }
