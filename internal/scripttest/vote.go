package scripttest

import (
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

func voteChecks() []rule {
	const ms = 60_000
	const strict = "two locks must never have the same fencing token, and a later lock must have a higher one"
	return []rule{{
		name: "Eval/vote",
		why:  strict + "; a vote that is sent again after its reply was lost must have the same value",
		run: func(t *trial) {
			f := t.fenced()
			token, other := t.Name(), t.Name()
			v, now := f.votes(token, 0, 0, "whose counter is missing")
			if now < 1e14 || now > 1<<53 {
				t.Failf("the time is %d, want microseconds since 1970", now)
			}
			f.holds(token, long, "after a vote")
			r := t.EvalKeys(lua.Vote, f.three(token), token, "600000", "9999999999999999", "7200000")
			if again, _ := f.granted(r, 9999999999999999, "repeated vote"); again != v {
				t.Failf("a repeated vote is for %d, want %d", again, v)
			}
			if c, _ := f.refused(f.ask(other, 0), "vote for a lock that another token holds", -1, owner(token)); c != v {
				t.Failf("vote for a lock that another token holds shows the counter at %d, want %d", c, v)
			}
			f.counts(v, keep, "after refused votes")
			f.holds(token, long, "after refused votes")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			f.counts(v, keep, "after a release")
			f.votes(other, v, 0, "after the first holder released it")
		},
	}, {
		name: "Eval/vote reports the time",
		why:  "clients compute hints from the servers' clocks, which the replies contain",
		run: func(t *trial) {
			const d = 30 * time.Millisecond
			f := t.fenced()
			_, first := f.votes(t.Name(), 0, 0, "whose counter is missing")
			began := t.Clock()
			t.Wait(d)
			_, second := f.ints(f.ask(t.Name(), 0), "refused vote")
			if passed, most := second-first, (t.Clock() - began + call).Microseconds(); passed < (d-time.Millisecond).Microseconds() || passed > most {
				t.Failf("%v later, the time is %d after %d, want as many microseconds more", d, second, first)
			}
		},
	}, {
		name: "Eval/vote goes up to the hint",
		why:  strict + "; nodes agree in one round only if they accept the hint, but a client with a wrong clock must not move the counter along",
		run: func(t *trial) {
			f := t.fenced()
			c, now := int64(0), t.now()
			for _, hint := range []int64{0, now + 100_000, now - 100_000, now + 200_000, 0, 1, 9999999999999999, 0, ahead(now, 10*time.Second), ahead(now, -10*time.Second)} {
				token := t.Name()
				c, _ = f.votes(token, c, hint, "after others")
				t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			}
			// A counter that is ahead counts up by one.
			far := t.fenced()
			c = ahead(now, farAhead)
			far.standsAt(decimal(c))
			for range 3 {
				token := t.Name()
				c, _ = far.votes(token, c, now, "whose counter is far ahead")
				t.Answer(far.eval(lua.Release, token), "release of a key by its holder", 1)
			}
			old := t.fenced()
			old.standsAt("41")
			old.votes(t.Name(), 41, 0, "whose counter is far behind")
		},
	}, {
		name: "Eval/vote keeps the counter",
		why:  "a counter that expires too early begins again; an unused one must expire, unless it is meant to stay",
		run: func(t *trial) {
			for arg, want := range map[string]time.Duration{"0": backend.NoExpiry, "7200000": 2 * time.Hour, millis(keep): keep} {
				f := t.fenced()
				token := t.Name()
				v, _ := f.granted(t.EvalKeys(lua.Vote, f.three(token), token, "60000", "0", arg), 0, "vote for a free lock")
				f.counts(v, want, "after a vote that keeps it for "+arg)
			}
		},
	}, {
		name: "Eval/vote is unique",
		why:  strict,
		run: func(t *trial) {
			f := t.fenced()
			token := t.Name()
			f.votes(token, 0, 0, "whose counter is missing")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			var mu sync.Mutex
			seen := map[int64]bool{}
			tokens := make([]string, crowd)
			for i := range tokens {
				tokens[i] = t.Name()
			}
			t.Parallel(crowd, func(i int) {
				for range 8 {
					r := f.ask(tokens[i], 9999999999999999)
					if len(r) == 0 || r[0] != int64(1) {
						continue
					}
					v, _ := f.ints(r, "vote")
					mu.Lock()
					twice := seen[v]
					seen[v] = true
					mu.Unlock()
					if twice {
						t.Failf("two votes are for %d", v)
					}
					f.eval(lua.Release, tokens[i])
				}
			})
			if len(seen) == 0 {
				t.Failf("none of %d votes for a repeatedly free lock was granted", 8*crowd)
			}
		},
	}, {
		name:  "Eval/vote of bad numbers",
		needs: []string{"Subscriber"},
		why:   "a script that fails halfway has written something: it must check its arguments before it writes",
		run: func(t *trial) {
			f := t.fenced()
			w := f.waiter(ms)
			token := t.Name()
			for _, bad := range append(badNumbers(), "99999999999999999999", "12345678901234567") {
				f.fails(lua.Vote, f.three(token), token, bad, "0", "60000")
				f.fails(lua.Vote, f.four(token), token, "60000", "0", "60000", w.ticket, bad)
				if bad != "9999999999999999" { // valid as a hint
					f.fails(lua.Vote, f.three(token), token, "60000", bad, "60000")
				}
				f.fails(lua.Vote, f.three(token), token, "60000", "0", bad)
			}
			f.fails(lua.Vote, f.four(token), token, "60000", "0", "60000", w.ticket)
			f.fails(lua.Vote, f.three(token), token, "0", "0", "60000")
			f.free("after votes that failed")
			t.missing(f.counter, "after votes that failed, the counter")
			f.inQueue("after votes that failed")
			near := t.fenced()
			near.standsAt("0000000000000041")
			for _, bad := range likeCounters(t.now()) {
				near.fails(lua.Vote, near.three(token), token, "60000", bad, "60000")
			}
			near.free("after votes with invalid hints of a time's length")
			near.unchanged("0000000000000041", "after votes with invalid hints of a time's length")
			// A number that is not in the form servers use must not fail halfway.
			r := t.EvalKeys(lua.Vote, f.three(token), token, "060000", "00", "03600000")
			v, _ := f.granted(r, 0, "vote with leading zeros")
			f.counts(v, keep, "after a vote with leading zeros")
		},
	}, {
		name:  "Eval/vote with an invalid counter",
		needs: []string{"SetOther"},
		why:   "an invalid counter cannot be increased; this node cannot vote, and the error must name the key",
		run: func(t *trial) {
			for _, bad := range append(badCounters(), likeCounters(t.now())...) {
				f := t.fenced()
				token := t.Name()
				f.standsAt(bad)
				args := []string{token, "60000", "0", "60000"}
				t.failsWith("FENCE", f.counter, lua.Vote, f.three(token), args...)
				t.failsWith("FENCE", f.counter, lua.Vote, f.three(token), token, "60000", decimal(t.now()), "60000")
				f.free("after a vote that failed")
				f.unchanged(bad, "after a vote that failed")
				t.SetNX(f.lock, token, long, true, "a free key")
				t.failsWith("FENCE", f.counter, lua.Vote, f.three(token), args...)
				t.Answer(f.eval(lua.Release, token), "release of a lock with an invalid counter", 1)
			}
			f := t.fenced()
			t.SetOther(f.counter)
			token := t.Name()
			t.failsWith("FENCE", f.counter, lua.Vote, f.three(token), token, "60000", "0", "60000")
			f.free("after a vote with a list as the counter")
		},
	}, {
		name: "Eval/vote too far ahead",
		why:  "a counter at its limit is stuck there, and one that a rogue has moved would move those of the other nodes along",
		run: func(t *trial) {
			now := t.now()
			for _, c := range tooHigh(now) {
				f := t.fenced()
				f.standsAt(decimal(c))
				token := t.Name()
				t.failsWith("FENCE", f.counter, lua.Vote, f.three(token), token, "60000", "0", "60000")
				f.free("after a vote that failed")
				f.unchanged(decimal(c), "after a vote that failed")
				// A refused caller does not get such a counter either, because it would
				// use it as a hint.
				f.take()
				t.failsWith("FENCE", f.counter, lua.Vote, f.three(token), token, "60000", "0", "60000")
			}
		},
	}, {
		name:  "Eval/vote after the tombstone",
		needs: []string{"Subscriber"},
		why:   "a vote that arrives after its attempt has ended, or twice, would be a lock that nobody releases",
		run: func(t *trial) {
			f := t.fenced()
			token, other := t.Name(), t.Name()
			t.SetNX(f.tomb(token), "1", long, true, "a free key")
			f.ended(f.ask(token, 0), "vote for an ended attempt")
			f.free("after a vote for an ended attempt")
			t.missing(f.counter, "after a vote for an ended attempt, the counter")
			v, _ := f.votes(other, 0, 0, "with another token's tombstone")
			w := f.waiter(ms)
			f.ended(t.EvalKeys(lua.Vote, f.four(token), token, "60000", "0", "60000", w.ticket, "0"), "vote for an ended attempt, by a waiter,")
			f.inQueue("after a vote for an ended attempt, by a waiter")
			f.counts(v, keep, "after votes for ended attempts")
			f.holds(other, long, "after votes for ended attempts")
			t.Answer(f.eval(lua.Release, other), "release of a key by its holder", 1)
			f.ended(f.ask(token, v+1000), "vote for an ended attempt, with a free lock and a counter")
			f.free("after a vote for an ended attempt")
			f.counts(v, keep, "after a vote for an ended attempt")
		},
	}, {
		name: "Eval/vote again after a lost counter",
		why:  "a vote is lost with its counter; the new one must be above all others, and must not extend the lock",
		run: func(t *trial) {
			f := t.fenced()
			token := t.Name()
			f.votes(token, 0, 0, "whose counter is missing")
			f.lost()
			r := t.EvalKeys(lua.Vote, f.three(token), token, "600000", "0", millis(keep))
			v, now := f.granted(r, 0, "vote again")
			f.rises(v, 0, 0, now, "vote again")
			f.counts(v, keep, "after a vote again")
			f.holds(token, long, "after a vote again")
		},
	}, {
		name:  "Eval/vote queues",
		needs: []string{"Subscriber"},
		why:   "waiters with fencing queue like all others, and the notified waiter gets the lock",
		run: func(t *trial) {
			f := t.fenced()
			token := t.Name()
			ask := func(w waiter, token, waited string) backend.Reply {
				return t.EvalKeys(lua.Vote, f.four(token), token, "60000", "0", millis(keep), w.ticket, waited)
			}
			c, _ := f.votes(token, 0, 0, "whose counter is missing")
			b, a := f.waiter(ms), f.waiter(ms)
			f.refused(ask(b, t.Name(), "1000"), "vote by the first waiter,", 0, owner(token))
			f.refused(ask(a, t.Name(), "2000"), "vote by a waiter that has waited longer", 0, owner(token))
			f.inQueue("after two waiters have asked", a, b)
			f.counts(c, keep, "after refused votes")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			f.reserved(a, "after the release")
			f.refused(f.ask(t.Name(), 0), "vote for a reserved lock", -1, owner("~"+a.ticket))
			f.refused(ask(b, t.Name(), "0"), "vote for a lock reserved for another waiter", 0, owner("~"+a.ticket))
			f.staysReserved(a, "after refusals of others")
			token = t.Name()
			v, now := f.granted(ask(a, token, "0"), 0, "vote by the notified waiter")
			f.rises(v, c, 0, now, "vote by the notified waiter")
			f.holds(token, long, "after the notified waiter voted")
			t.Answer(f.eval(lua.Rollback, token, a.ticket, "3000", "0"), "rollback of a key by its holder", 1)
			f.inQueue("after a rollback", a, b)
			f.granted(ask(a, t.Name(), "0"), 0, "vote by a waiter for a free lock")
			f.inQueue("after the first waiter has the lock", b)
			f.receivesOnly(a, f.call())
			f.receivesOnly(b, f.next(a))
		},
	}, {
		name: "Eval/vote without a queue",
		why:  "most callers do not wait, and omit arguments; a missing one must count as empty, and without a ticket the queue may be any key",
		run: func(t *trial) {
			f := t.fenced()
			f.votesAs("no further arguments", f.three)
			f.votesAs("an empty ticket", f.three, "")
			f.votesAs("an empty ticket and time", f.three, "", "")
			f.votesAs("a queue", f.four)
			f.votesAs("a queue and an empty ticket", f.four, "")
			f.votesAs("a queue, an empty ticket and time", f.four, "", "")
			odd := func(token string) []string { return append(f.three(token), f.lock) }
			f.votesAs("any key as a queue", odd)
			f.votesAs("any key as a queue, an empty ticket and a time", odd, "", "soon")
		},
	}, {
		name:  "Eval/vote with a ticket and without a queue",
		needs: []string{"Subscriber"},
		why:   "a waiter without a queue is refused like a caller that does not wait, but can take a lock that is reserved for it",
		run: func(t *trial) {
			f := t.fenced()
			w := f.waiter(ms)
			f.votesAs("a ticket, but no queue", f.three, w.ticket, "1000")
			f.votesAs("a ticket, but neither queue nor time", f.three, w.ticket)
			token := f.take()
			f.waits(w, 0, 0, "the only waiter")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			f.reserved(w, "after the release")
			f.refused(f.ask(t.Name(), 0), "vote for a reserved lock", -1, owner("~"+w.ticket))
			token = t.Name()
			r := t.EvalKeys(lua.Vote, f.three(token), token, "60000", "0", millis(keep), w.ticket, "0")
			f.granted(r, 0, "vote without a queue by the notified waiter")
			f.holds(token, long, "after the notified waiter voted")
		},
	}, {
		name:  "Eval/vote for another type",
		needs: []string{"SetOther"},
		why:   "a key that does not hold a token belongs to another program",
		run: func(t *trial) {
			f := t.fenced()
			t.SetOther(f.lock)
			f.refused(f.ask(t.Name(), 0), "vote for a key of another type", -1, "")
			t.missing(f.counter, "after a refused vote, the counter")
			now := t.now()
			f.standsAt(decimal(now))
			f.refused(f.ask(t.Name(), now+1000), "vote for a key of another type, with a counter,", -1, "")
			f.unchanged(decimal(now), "after a refused vote")
		},
	}}
}
