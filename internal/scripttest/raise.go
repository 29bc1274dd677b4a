package scripttest

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

func raiseChecks() []rule {
	hour := millis(keep)
	return []rule{{
		name: "Eval/raise",
		why:  "a vote is raised by whoever has the lock, strictly, or two locks get the same fencing token",
		run: func(t *trial) {
			f := t.fenced()
			token, other := t.Name(), t.Name()
			raise := func(token string, value int64) backend.Reply {
				return t.EvalKeys(lua.Raise, f.two(), token, decimal(value), hour)
			}
			t.Answer(raise(token, 7), "raise for a lock that is free", 0)
			t.missing(f.counter, "after a raise in vain, the counter")
			v, _ := f.votes(token, 0, 0, "whose counter is missing")
			t.Answer(raise(other, v+5), "raise by another", 0)
			t.Answer(raise("", v+5), "raise without a token", 0)
			f.counts(v, keep, "after raises in vain")
			t.Answer(raise(token, v), "raise to where the counter is", 1)
			t.Answer(raise(token, v+5), "raise by the holder", 1)
			f.counts(v+5, keep, "after a raise")
			t.Answer(raise(token, v+5), "raise by the holder, again", 1)
			t.Answer(raise(other, v+5), "raise by another to where the counter is", 0)
			t.Answer(raise(token, v+4), "raise to below the counter", 0)
			f.counts(v+5, keep, "after a raise to below it")
			f.holds(token, long, "after raises")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			t.Answer(raise(token, v+9), "raise by one who has released", 0)
			f.counts(v+5, keep, "after a raise by one who has released")
		},
	}, {
		name: "Eval/raise keeps the counter",
		why:  "a counter that goes before its time begins again; one that nobody asks for must not stay, unless it is to",
		run: func(t *trial) {
			for arg, want := range map[string]time.Duration{"0": backend.NoExpiry, "07200000": 2 * time.Hour, hour: keep} {
				f := t.fenced()
				token := f.take()
				t.Answer(t.EvalKeys(lua.Raise, f.two(), token, "41", arg), "raise of a counter that is missing", 1)
				f.counts(41, want, "after a raise that keeps it for "+arg)
			}
		},
	}, {
		name: "Eval/raise of bad numbers",
		why:  "0 is no fencing token, and what is no number must not be taken for one",
		run: func(t *trial) {
			f := t.fenced()
			token := f.take()
			for _, bad := range append(badNumbers(), "12345678901234567") {
				if bad != "9999999999999999" { // a valid number, but too high
					f.fails(lua.Raise, f.two(), token, bad, hour)
				}
				f.fails(lua.Raise, f.two(), token, "41", bad)
			}
			f.fails(lua.Raise, f.two(), token, "0", hour)
			t.missing(f.counter, "after raises that failed, the counter")
		},
	}, {
		name:  "Eval/raise beside no counter",
		needs: []string{"SetOther"},
		why:   "to take what is no counter for 0 would let it go down",
		run: func(t *trial) {
			for _, bad := range badCounters() {
				f := t.fenced()
				f.standsAt(bad)
				token := f.take()
				t.failsWith("FENCE", f.counter, lua.Raise, f.two(), token, "41", hour)
				f.unchanged(bad, "after a raise that failed")
				t.Answer(t.EvalKeys(lua.Raise, f.two(), t.Name(), "41", hour), "raise by another", 0)
			}
			f := t.fenced()
			t.SetOther(f.counter)
			t.failsWith("FENCE", f.counter, lua.Raise, f.two(), f.take(), "41", hour)
		},
	}, {
		name: "Eval/raise too far ahead",
		why:  "one rogue raise would move a counter to its end, where it is stuck for ever",
		run: func(t *trial) {
			f := t.fenced()
			token := t.Name()
			v, now := f.votes(token, 0, 0, "whose counter is missing")
			for _, value := range tooHigh(now) {
				t.failsWith("FENCE", f.counter, lua.Raise, f.two(), token, decimal(value), hour)
			}
			f.counts(v, keep, "after raises that failed")
			t.Answer(t.EvalKeys(lua.Raise, f.two(), token, decimal(ahead(now, farAhead)), hour), "raise to less than a day ahead", 1)
			f.counts(ahead(now, farAhead), keep, "after a raise to less than a day ahead")
		},
	}, {
		name:  "Eval/raise for another type",
		needs: []string{"SetOther"},
		why:   "a key that holds anything but a token is somebody else's",
		run: func(t *trial) {
			f := t.fenced()
			t.SetOther(f.lock)
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(t.EvalKeys(lua.Raise, f.two(), token, "41", hour), "raise for a key that holds no string", 0)
			}
			t.missing(f.counter, "after raises in vain, the counter")
		},
	}}
}
