package redlock

import (
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/lease"
)

// settings is the configuration of a Locker. callSettings is the part that a call may
// change.
type settings struct {
	lease.Rules
	prefix      string
	nodeTimeout time.Duration // that was given; 0: none
	need        int
	announce    func(key string) string
	counterLife time.Duration // 0: for ever
	quarantine  time.Duration // 0: none
	hooks       Hooks
	call        callSettings
}

type callSettings struct {
	ttl        time.Duration
	owner      string
	retry      RetryPolicy
	patience   time.Duration // while too many nodes are unavailable; 0: one TTL
	wait       time.Duration // 0: no limit; once: a single attempt
	autoExtend bool
	maxHold    time.Duration // 0: no limit
	minHold    time.Duration // 0: none
	fencing    bool
	reentrant  bool

	given given // options given to this call or Locker itself
}

// given records the options that were given to a call itself, of those that some calls
// would ignore. A call may ignore a default, but not its own option.
type given uint8

const (
	givenRetry given = 1 << iota
	givenWait
	givenPatience
	givenMaxHold
	givenReentrancy
	givenFencing
)

// with returns the settings of a call with these options.
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

// resumed returns the settings of a Resume with these options, for a lock with that
// fencing token, or 0.
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

// once returns the settings of a call that does not wait.
func (s callSettings) once() (callSettings, error) {
	if s.given&givenWait != 0 && s.wait != once {
		return s, fmt.Errorf("a wait of %v: the call does not wait", s.wait)
	}
	s.wait = once
	return s, nil
}

// checkGiven rejects an option of a call that would ignore it.
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

// check rejects settings that do not fit together.
func (s *settings) check(c callSettings) error {
	if err := s.checkTTL(c.ttl); err != nil {
		return err
	}
	if c.maxHold > 0 && c.maxHold < c.minHold {
		return fmt.Errorf("a maximal hold of %v: must not be shorter than the minimum hold, %v", c.maxHold, c.minHold)
	}
	if c.maxHold > 0 && c.maxHold < c.ttl {
		return fmt.Errorf("a maximal hold of %v: must not be shorter than the TTL, %v", c.maxHold, c.ttl)
	}
	if c.given&givenPatience != 0 && c.polls() && c.retry.queue == 0 {
		return errors.New("a patience: the retry policy says how long the call goes on")
	}
	if c.fencing {
		if err := s.checkCounterLife(s.lease(c)); err != nil {
			return err
		}
	}
	return s.checkQuarantine(s.lease(c))
}

// longestTTL is the longest TTL and the longest minimum hold. No sum of times overflows with it.
const longestTTL = 10 * 365 * 24 * time.Hour

// checkCounterLife rejects a TTL during which a counter may end.
func (s *settings) checkCounterLife(ttl time.Duration) error {
	if s.counterLife > 0 && s.counterLife-counterSlack < ttl {
		return fmt.Errorf("a TTL of %v with fencing: counters live for %v, and must live longer than that by %v",
			ttl, s.counterLife, counterSlack)
	}
	return nil
}

// checkTTL rejects a TTL of less than a millisecond or more than longestTTL.
func checkTTL(ttl time.Duration) error {
	switch {
	case ttl <= 0:
		return fmt.Errorf("a TTL of %v: must be positive", ttl)
	case ttl < time.Millisecond:
		return fmt.Errorf("a TTL of %v: must be at least 1ms", ttl)
	case ttl > longestTTL:
		return fmt.Errorf("a TTL of %v: must be at most %v", ttl, longestTTL)
	}
	return nil
}

// checkTTL rejects a TTL that leaves no validity.
func (s *settings) checkTTL(ttl time.Duration) error {
	if valid := ttl - s.DriftOf(ttl); valid <= 0 {
		return fmt.Errorf("a TTL of %v leaves no validity: the drift allowance is %v", ttl, s.DriftOf(ttl))
	}
	return nil
}

// lease returns the TTL with which a call acquires: that of [WithTTL], or longer if
// [WithMinHold] needs it.
func (s *settings) lease(c callSettings) time.Duration {
	if c.minHold == 0 {
		return c.ttl
	}
	return max(c.ttl, s.Outlasting(c.minHold))
}
