package tokens

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The clocks of servers run too fast or too slow. Unless the clocks of a quorum are off by more
// than the drift allowance, nobody gets the lock while another's lock is valid. Tokens are in
// order even then, and the resource rejects the first holder.
func TestClockRate(t *testing.T) {
	list := servers.Start(t, servers.Any, 3, servers.WithClock())
	for _, tc := range []struct {
		name    string
		servers int // number of affected servers, of three
		share   float64
		drift   float64
		overlap bool
	}{
		{"fast by less than the allowance", 3, 0.009, redlock.DefaultDrift, false},
		{"fast by less than a large allowance", 3, 0.25, 0.3, false},
		{"fast by more, a minority", 1, 1, redlock.DefaultDrift, false},
		{"fast by more, a majority", 2, 1, redlock.DefaultDrift, true},
		{"slow", 3, -0.25, redlock.DefaultDrift, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, s := range list {
				s.Flush(t)
				s.ClockRate(t, 0)
				if i < tc.servers {
					s.ClockRate(t, tc.share)
				}
			}
			opts := []redlock.Option{
				redlock.WithTTL(time.Second), redlock.WithDrift(tc.drift),
				redlock.WithRetry(redlock.Fixed(5 * time.Millisecond)), // to lock as early as possible
			}
			one, other := newLocker(t, list, 0, opts...), newLocker(t, list, 1, opts...)
			for range 10 { // a slow machine may need several attempts
				start := time.Now()
				a, first := mustLock(t, one, start)
				if !everywhere(t, list) {
					a.Unlock(t.Context())
					eventuallyFree(t, list, key)
					continue
				}
				b, second := mustLock(t, other, start)
				for _, s := range disorder([]grant{first, second}) {
					t.Error("unsafe: ", s)
				}
				supersedes(t, b, a)
				b.Unlock(t.Context())
				eventuallyFree(t, list, key)
				early := a.Until().Sub(start) - second.got
				t.Logf("the second holder got the lock %v before the end of the first", early)
				if !tc.overlap && early > 0 {
					t.Error("unsafe: both held the lock")
				}
				if !tc.overlap || early > 0 {
					return
				}
			}
			t.Error("both never held the lock, although they overlap for half a second")
		})
	}
}

// everywhere reports whether all servers have the lock. On a slow machine, one may have answered
// too late, and then others can get the lock on that server and a second one.
func everywhere(t testing.TB, list []*servers.Server) bool {
	t.Helper()
	for _, s := range list {
		for try := 0; s.Do(t, "EXISTS", key) != int64(1); try++ {
			if try == 10 {
				return false
			}
			time.Sleep(time.Millisecond)
		}
	}
	return true
}

// The clocks of servers are set back. The lock then stays there for longer. If these servers are
// enough to block, others wait until the lock is unlocked or the clocks are right again. There is
// no other effect.
func TestClockSetBack(t *testing.T) {
	const ttl = 500 * time.Millisecond
	list := servers.Start(t, servers.Any, 3, servers.WithClock())
	for _, tc := range []struct {
		name string
		back int // number of affected servers, of three
		end  func(t *testing.T, a *redlock.Lock, list []*servers.Server)
	}{
		{"a minority", 1, nil},
		{"a majority, unlocked late", 2, func(t *testing.T, a *redlock.Lock, _ []*servers.Server) {
			a.Unlock(t.Context()) // may return that the lock was not held any more
		}},
		{"all, set right", 3, func(t *testing.T, _ *redlock.Lock, list []*servers.Server) {
			step(t, list, time.Hour)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, s := range list { // their clocks may be hours behind, which has no effect
				s.Flush(t)
			}
			one, other := newLocker(t, list, 0, redlock.WithTTL(ttl)), newLocker(t, list, 1, redlock.WithTTL(ttl))
			start := time.Now()
			var grants []grant
			lock := func(locker *redlock.Locker) *redlock.Lock {
				t.Helper()
				lock, g := mustLock(t, locker, start)
				grants = append(grants, g)
				return lock
			}
			a := lock(one)
			for try := 0; !setBack(t, list[:tc.back]); try++ {
				if try == 10 {
					t.Fatal("the lock was never on all servers in time")
				}
				step(t, list[:tc.back], time.Hour)
				a.Unlock(t.Context())
				eventuallyFree(t, list, key)
				a = lock(one)
			}
			<-a.Context(t.Context()).Done()
			if !errors.Is(a.Err(), redlock.ErrNotHeld) {
				t.Errorf("after its validity: %v, want ErrNotHeld", a.Err())
			}
			if tc.end != nil {
				time.Sleep(ttl) // for these clocks, no time has passed
				if _, err := other.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
					t.Errorf("long after the TTL: %v, want ErrTaken", err)
				}
				tc.end(t, a, list)
			}
			b := lock(other)
			if got := grants[len(grants)-1].got; got < a.Until().Sub(start) {
				t.Error("unsafe: both held the lock")
			}
			for _, s := range disorder(grants) {
				t.Error("unsafe: ", s)
			}
			b.Unlock(t.Context()) // may be late on a slow machine
		})
	}
}

// setBack sets clocks back by an hour, and reports whether all of these servers have the lock for
// that much longer. One may have answered too late.
func setBack(t testing.TB, list []*servers.Server) bool {
	t.Helper()
	step(t, list, -time.Hour)
	for _, s := range list {
		if left := s.Do(t, "PTTL", key).(int64); left < time.Hour.Milliseconds() {
			return false
		}
	}
	return true
}

func step(t testing.TB, list []*servers.Server, d time.Duration) {
	t.Helper()
	for _, s := range list {
		s.StepClock(t, d)
	}
}

// A clock jumps ahead by two days, and is set right again. Meanwhile, counters have expired
// there, or are so far ahead that other servers do not follow them.
func TestClockDaysAhead(t *testing.T) {
	const days = 48 * time.Hour
	none := func(t *testing.T, locker *redlock.Locker, want ...string) {
		t.Helper()
		_, err := locker.TryLock(t.Context(), key)
		if !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
			return
		}
		for _, want := range append(want, "more than a day ahead") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want one that contains %q", err, want)
			}
		}
	}
	begin := func(t *testing.T) (list []*servers.Server, locker *redlock.Locker, once func() uint64) {
		list = servers.Start(t, servers.Any, 3, servers.WithClock(), servers.WithOutages())
		locker = newLocker(t, list, 0, patient)
		last := uint64(0)
		return list, locker, func() uint64 {
			t.Helper()
			lock := lockKey(t, locker, key, last)
			last = lock.Fence()
			unlock(t, lock)
			eventuallyFree(t, list, key)
			return last
		}
	}

	// The other servers go on. Together with one of them, the affected server grants no token,
	// whether it is ahead or right again.
	t.Run("one", func(t *testing.T) {
		list, locker, once := begin(t)
		once()
		list[0].StepClock(t, days)
		once()
		list[2].Pause(t)
		none(t, locker)
		list[2].Resume(t)
		once()
		list[0].StepClock(t, -days)
		once()
		list[2].Pause(t)
		none(t, locker, "FENCE", counter)
		list[0].Do(t, "DEL", counter) // as the error says
		eventuallyFree(t, list[:2], key)
		lock := lockKey(t, locker, key, 0)
		unlock(t, lock)
		eventuallyFree(t, list[:2], key)
		list[2].Resume(t)
		once()
	})

	// A majority grants tokens from there. After the clocks are right again, it grants none until
	// the counters are deleted. Then tokens begin below the earlier ones.
	t.Run("a majority", func(t *testing.T) {
		list, locker, once := begin(t)
		once()
		step(t, list[1:], days)
		ahead := once()
		step(t, list[1:], -days)
		none(t, locker, "FENCE", counter)
		eventuallyFree(t, list, key)
		for _, s := range list[1:] {
			s.Do(t, "DEL", counter)
		}
		lock := lockKey(t, locker, key, 0)
		if lock.Fence() >= ahead {
			t.Errorf("the token %d follows %d, which is better than documented", lock.Fence(), ahead)
		}
		unlock(t, lock)
	})
}
