package scripttest

import (
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// sharedValue is what a lock holds while others read.
const sharedValue = "~shared"

// A shared is a lock that some read, with its queue and the set of its readers.
type shared struct{ queue }

func (t *trial) shared() shared { return shared{t.queue()} }

func (s shared) keys() []string { return []string{s.lock, s.name, s.name + ":readers"} }

// run runs a script for readers, which must not fail.
func (s shared) run(script *backend.Script, args ...string) backend.Reply {
	s.sends()
	return s.t.EvalKeys(script, s.keys(), args...)
}

// reader returns a waiter that only wants to read.
func (s shared) reader() waiter {
	const grace = 60
	w := s.waiter(90000 + grace)
	w.grace = grace * time.Millisecond
	return w
}

// reads takes the lock to read, for a new token, and fails the check unless it is granted.
func (s shared) reads(ttl time.Duration, situation string) (token string) {
	token = s.t.Name()
	ms := ttl.Milliseconds()
	s.t.Answer(s.run(lua.AcquireShared, token, strconv.FormatInt(ms, 10)), "acquire to read, "+situation+",", 1)
	return token
}

// waitsToRead fails the check unless w is refused, and then is in the queue behind rank
// others.
func (s shared) waitsToRead(w waiter, waited int, rank int64, situation string) {
	r := s.run(lua.AcquireShared, s.t.Name(), "60000", w.ticket, strconv.Itoa(waited))
	if n, err := r.Int(0); err != nil || n != 0 || len(r) != 4 || r[2] != rank {
		s.t.Failf("acquire to read by a waiter, %s, answers %v, want {0, a time to live, %d, the owner}", situation, check.Brief(r), rank)
	}
}

// joins fails the check unless the waiter w is granted the lock to read, which it claims to
// have waited for.
func (s shared) joins(w waiter, waited int, situation string) {
	r := s.run(lua.AcquireShared, s.t.Name(), "60000", w.ticket, strconv.Itoa(waited))
	s.t.Answer(r, "acquire to read by a waiter, "+situation+",", 1)
}

// listed fails the check unless the set of readers has this many tokens. Some of them may no
// longer read.
func (s shared) listed(want int64, when string) {
	r := s.t.EvalKeys(lua.Inspect, []string{s.lock, s.keys()[2]}, "0")
	if len(r) != 4 || r[3] != want {
		s.t.Failf("%s, the lock and the number of its readers are %v, want %d readers", when, check.Brief(r), want)
	}
}

// sharedChecks are about readers alone.
func sharedChecks() []rule {
	const ms = 60_000
	return []rule{{
		name: "Eval/acquireshared",
		why:  "readers share the lock, and everybody else finds it taken",
		run: func(t *trial) {
			s := t.shared()
			a := s.reads(long, "of a free key")
			s.holds(sharedValue, long, "after the first reader")
			b := s.reads(long, "of a key that another reads")
			t.SetNX(s.lock, t.Name(), long, false, "a key that others read")
			t.refused(t.Eval(lua.Acquire, s.lock, t.Name(), "60000"), "acquire of a key that others read", sharedValue)
			for _, token := range []string{a, b} {
				t.Answer(s.eval(lua.Release, token), "release of a key, for a token that reads", 0)
			}
			for i, token := range []string{a, b} {
				s.holds(sharedValue, long, "while somebody reads")
				t.Answer(s.run(lua.ReleaseShared, token), "release by reader "+strconv.Itoa(i), 1)
			}
			s.free("after the last reader's release")
		},
	}, {
		name: "Eval/acquireshared again",
		why:  "a reader that is counted twice keeps the lock after its release",
		run: func(t *trial) {
			s := t.shared()
			a := s.reads(long, "of a free key")
			for range 2 {
				r := s.run(lua.AcquireShared, a, "600000")
				t.Left(r, "acquire to read by a token that reads", 1, ms)
			}
			s.holds(sharedValue, long, "after repeated acquires")
			t.Answer(s.run(lua.ReleaseShared, a), "release by the only reader", 1)
			s.free("after the only reader's release")
		},
	}, {
		name:  "Eval/acquireshared of a held lock",
		needs: []string{"SetOther"},
		why:   "nobody reads while somebody has the lock",
		run: func(t *trial) {
			s := t.shared()
			token := s.take()
			t.refused(s.run(lua.AcquireShared, t.Name(), "60000"), "acquire to read of a key that a token holds", owner(token))
			s.holds(token, long, "after refused readers")
			other := t.shared()
			t.SetOther(other.lock)
			t.refused(other.run(lua.AcquireShared, t.Name(), "60000"), "acquire to read of a key of another type", "")
			for _, script := range []*backend.Script{lua.ReleaseShared, lua.RollbackShared} {
				t.Answer(other.run(script, t.Name(), ""), script.Name()+" of a key of another type", 0)
			}
			t.Answer(other.run(lua.ExtendShared, t.Name(), "60000"), "extension of a key of another type", 0)
			t.SetNX(other.lock, t.Name(), long, false, "a key of another type, after refused readers")
		},
	}, {
		name: "Eval/acquireshared of a stale set",
		why:  "readers whose lock was deleted do not read, and must not keep the next lock",
		run: func(t *trial) {
			s := t.shared()
			old := s.reads(long, "of a free key")
			t.EvalDelete(s.lock, sharedValue, true, "a key that somebody reads, by its value")
			t.Answer(s.run(lua.ExtendShared, old, "60000"), "extension by a reader whose lock was deleted", 0)
			token := s.reads(long, "of a free key, with the set of a deleted lock")
			t.Answer(s.run(lua.ExtendShared, old, "60000"), "extension by a reader of an earlier lock", 0)
			t.Answer(s.run(lua.ReleaseShared, token), "release by the only reader", 1)
			s.free("after the only reader's release, with the set of an earlier lock")
		},
	}, {
		name: "Eval/acquireshared for its time",
		why:  "a reader that has died must delay others for exactly its time, whatever others do",
		run: func(t *trial) {
			t.Expires(short, "a lock that was read", func(lock, token string) (time.Duration, bool) {
				s := shared{t.queueOf(lock)}
				began := t.Clock()
				s.run(lua.AcquireShared, token, strconv.FormatInt(short.Milliseconds(), 10))
				other := token + "x"
				s.run(lua.AcquireShared, other, "60000")
				t.Answer(s.run(lua.ReleaseShared, other), "release by a reader for longer", 1)
				return began, true
			})
		},
	}, {
		name: "Eval/acquireshared beside ended shares",
		why:  "shares of readers that have died would pile up and hide those who read",
		run: func(t *trial) {
			s := t.shared()
			s.reads(long, "of a free key")
			const life = 300 * time.Millisecond
			began := t.Clock()
			for i := range 20 {
				s.reads(life, "for a short time, number "+strconv.Itoa(i))
			}
			if t.Clock()-began >= life {
				t.Skipf("the server or this machine is too slow for this check")
			}
			s.listed(21, "before they have ended")
			t.Wait(life + 50*time.Millisecond)
			b := s.reads(long, "beside 20 shares that have ended")
			s.listed(6, "after an acquire")
			t.Answer(s.run(lua.ReleaseShared, b), "release by the second reader", 1)
			s.listed(1, "after a release")
			s.holds(sharedValue, long, "while the first reader reads")
		},
	}, {
		name: "Eval/acquireshared of bad numbers",
		why:  "a script that fails halfway has written something: it must check its arguments before it writes",
		run: func(t *trial) {
			s := t.shared()
			for _, bad := range []string{"", "0", "-1", "1.5", "soon", "99999999999999999999"} {
				s.fails(lua.AcquireShared, s.keys(), t.Name(), bad)
				s.free("after an acquire to read for the time " + bad)
			}
			a := s.reads(long, "of a free key")
			for _, bad := range badNumbers() {
				s.fails(lua.AcquireShared, s.keys(), t.Name(), "60000", "20:x", bad)
				s.fails(lua.RollbackShared, s.keys(), a, "20:x", bad, "1")
			}
			for _, bad := range []string{"", "0", "-1", "1.5", "soon"} {
				s.fails(lua.ExtendShared, s.keys(), a, bad)
			}
			s.holds(sharedValue, long, "after scripts that failed")
			t.Answer(s.run(lua.ReleaseShared, a), "release by the only reader, after scripts that failed", 1)
			s.free("after the only reader's release, after scripts that failed")
		},
	}, {
		name: "Eval/extendshared",
		why:  "an extension may overtake another one, so it must not shorten the time",
		run: func(t *trial) {
			s := t.shared()
			a := s.reads(long, "of a free key")
			const longer = 2 * long
			t.Answer(s.run(lua.ExtendShared, a, strconv.FormatInt(longer.Milliseconds(), 10)), "extension by a reader", 1)
			s.holds(sharedValue, longer, "after an extension")
			t.Answer(s.run(lua.ExtendShared, a, "1000"), "extension by a reader, for less time", 1)
			s.holds(sharedValue, longer, "after an extension for less time")
			t.Left(s.run(lua.AcquireShared, a, "1000"), "acquire to read by a token that reads", 1, longer.Milliseconds())
			for _, other := range []string{t.Name(), "", sharedValue} {
				t.Answer(s.run(lua.ExtendShared, other, "60000"), "extension for a token that does not read", 0)
			}
			t.Answer(s.run(lua.ReleaseShared, a), "release by the only reader", 1)
			t.Answer(s.run(lua.ExtendShared, a, "60000"), "extension after the release", 0)
			s.free("after the only reader's release")
		},
	}, {
		name: "Eval/extendshared of an ended share",
		why:  "a share that has ended may have been followed by a writer elsewhere, so it must not be revived",
		run: func(t *trial) {
			s := t.shared()
			s.reads(long, "of a free key")
			a := s.reads(short, "for a short time")
			t.Wait(short + 50*time.Millisecond)
			t.Answer(s.run(lua.ExtendShared, a, "60000"), "extension of a share that has ended", 0)
			t.Answer(s.run(lua.ReleaseShared, a), "release of a share that has ended", 0)
			s.holds(sharedValue, long, "while another reads")
		},
	}, {
		name: "Eval/extendshared of a holder",
		why:  "a holder that becomes a reader lets others read, and nobody in between",
		run: func(t *trial) {
			s := t.shared()
			token := s.take()
			t.Answer(s.run(lua.ExtendShared, t.Name(), "60000"), "extension to read of a key that another token holds", 0)
			s.holds(token, long, "after an extension by another")
			t.Answer(s.run(lua.ExtendShared, token, "1000"), "extension to read by the holder", 1)
			s.holds(sharedValue, long, "after the holder has become a reader")
			b := s.reads(long, "after the holder has become a reader")
			t.Answer(s.run(lua.ReleaseShared, token), "release by the former holder", 1)
			s.holds(sharedValue, long, "while the other reader reads")
			t.Answer(s.run(lua.ReleaseShared, b), "release by the last reader", 1)
			s.free("after the last reader's release")

			token = s.take()
			t.Answer(s.run(lua.ReleaseShared, token), "release of a reader, by a holder that no extension has reached", 1)
			s.free("after the release of a holder that no extension has reached")
		},
	}, {
		name: "Eval/releaseshared",
		why:  "a release must report whether its token was still reading, and must not end another's share",
		run: func(t *trial) {
			s := t.shared()
			t.Answer(s.run(lua.ReleaseShared, t.Name()), "release of a missing key by a reader", 0)
			s.free("after a release by a reader of a missing key")
			a := s.reads(long, "of a free key")
			for _, other := range []string{t.Name(), "", sharedValue, a + "\x00"} {
				t.Answer(s.run(lua.ReleaseShared, other), "release for a token that does not read", 0)
			}
			s.holds(sharedValue, long, "after releases by others")
			b := s.reads(2*long, "for longer")
			s.holds(sharedValue, 2*long, "after a reader for longer")
			t.Answer(s.run(lua.ReleaseShared, b), "release by the reader for longer", 1)
			s.holds(sharedValue, long, "after the reader for longer has left: the key must not outlive its readers")
			t.Answer(s.run(lua.ReleaseShared, a), "release by the last reader", 1)
			s.free("after the last reader's release")
			t.Answer(s.run(lua.ReleaseShared, a), "release by a reader that has left", 0)
		},
	}}
}
