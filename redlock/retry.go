package redlock

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// A RetryPolicy says how long [Locker.Lock] pauses after each failed attempt, and how
// many attempts it makes. It has no state, so any number of calls may use one at the same
// time. The zero value is the default: see [WithRetry].
type RetryPolicy struct {
	delay func(tries int) time.Duration
	tries int           // the most attempts; 0 means until ctx ends
	queue time.Duration // how long to poll before joining the queue; 0 means always
	err   error
}

// Fixed pauses for d after each attempt. A d of 0 tries again at once.
func Fixed(d time.Duration) RetryPolicy {
	p := RetryPolicy{delay: func(int) time.Duration { return d }}
	if d < 0 {
		p.err = fmt.Errorf("a retry delay of %v: must not be negative", d)
	}
	return p
}

// Exponential pauses for first after the first attempt, and twice as long after each
// further one, up to longest.
func Exponential(first, longest time.Duration) RetryPolicy {
	p := RetryPolicy{delay: func(tries int) time.Duration {
		d := first
		for i := 1; i < tries && d < longest; i++ {
			d *= 2
		}
		return min(d, longest)
	}}
	if first <= 0 || longest < first || longest > 1<<62 {
		p.err = fmt.Errorf("an exponential retry delay from %v to %v: must grow from more than 0", first, longest)
	}
	return p
}

// RetryFunc pauses for the result of delay, which gets the number of attempts so far. A
// negative result counts as 0.
func RetryFunc(delay func(tries int) time.Duration) RetryPolicy {
	p := RetryPolicy{delay: delay}
	if delay == nil {
		p.err = errors.New("a retry function that is nil")
	}
	return p
}

// Jitter returns p with random pauses between 0 and p's own ("full jitter"), so that
// callers that failed together do not come back together.
func (p RetryPolicy) Jitter() RetryPolicy {
	delay := p.delay
	if delay == nil {
		return p.fail(errors.New("Jitter of the zero RetryPolicy, which has jitter already"))
	}
	p.delay = func(tries int) time.Duration {
		d := delay(tries)
		if d <= 0 {
			return 0
		}
		return rand.N(d) + 1
	}
	return p
}

// Limit returns p with at most so many attempts, including the first. Limit(1) does not
// try again, and does not pause.
func (p RetryPolicy) Limit(tries int) RetryPolicy {
	if tries < 1 {
		return p.fail(fmt.Errorf("a limit of %d tries: must be at least 1", tries))
	}
	p.tries = tries
	return p.checkQueue()
}

// ThenQueue returns p for callers that poll for d and then join the queue. Their place in
// it is that of a caller that queued from the beginning. From then on they wait as callers
// without a policy do, with [WithPatience], and p has no effect. ctx and [WithWait] limit
// the whole wait.
//
// It is for the time when a fleet changes from another library, so that neither callers
// that poll nor callers that queue starve: see docs/migrating/rollout.md. Let d be shorter
// than the wait of the other library's callers. It cannot be combined with
// [RetryPolicy.Limit].
func (p RetryPolicy) ThenQueue(d time.Duration) RetryPolicy {
	if p.delay == nil {
		return p.fail(errors.New("ThenQueue of the zero RetryPolicy, which queues at once"))
	}
	if d <= 0 {
		return p.fail(fmt.Errorf("polling for %v before queueing: must be positive", d))
	}
	p.queue = d
	return p.checkQueue()
}

// checkQueue rejects a policy that limits the attempts of a caller in the queue.
func (p RetryPolicy) checkQueue() RetryPolicy {
	if p.queue > 0 && p.tries > 0 {
		return p.fail(errors.New("a retry policy with both Limit and ThenQueue: limit the wait with WithWait instead"))
	}
	return p
}

func (p RetryPolicy) fail(err error) RetryPolicy {
	if p.err == nil {
		p.err = err
	}
	return p
}

// pause returns how long to wait after that many attempts, and whether to try again at
// all.
func (p RetryPolicy) pause(tries int) (time.Duration, bool) {
	if p.tries > 0 && tries >= p.tries {
		return 0, false
	}
	return max(0, p.delay(tries)), true
}
