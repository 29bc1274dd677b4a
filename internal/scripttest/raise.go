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
		why:  "only the holder may raise a vote, and only to a higher value, or two locks get the same fencing token",
		run: func(t *trial) {
			f := t.fenced()
			token, other := t.Name(), t.Name()
			raise := func(token string, value int64) backend.Reply {
				return t.EvalKeys(lua.Raise, f.two(), token, decimal(value), hour)
			}
			t.Answer(raise(token, 7), "raise for a lock that is free", 0)
			t.missing(f.counter, "after a refused raise, the counter")
			v, _ := f.votes(token, 0, 0, "whose counter is missing")
			t.Answer(raise(other, v+5), "raise by another token", 0)
			t.Answer(raise("", v+5), "raise without a token", 0)
			f.counts(v, keep, "after refused raises")
			t.Answer(raise(token, v), "raise to the counter's value", 1)
			t.Answer(raise(token, v+5), "raise by the holder", 1)
			f.counts(v+5, keep, "after a raise")
			t.Answer(raise(token, v+5), "raise by the holder, again", 1)
			t.Answer(raise(other, v+5), "raise by another token to the counter's value", 0)
			t.Answer(raise(token, v+4), "raise to below the counter", 0)
			f.counts(v+5, keep, "after a raise to below it")
			f.holds(token, long, "after raises")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			t.Answer(raise(token, v+9), "raise after the release", 0)
			f.counts(v+5, keep, "after a raise that follows the release")
		},
	}, {
		name: "Eval/raise keeps the counter",
		why:  "a counter that expires too early begins again; an unused one must expire, unless it is meant to stay",
		run: func(t *trial) {
			for arg, want := range map[string]time.Duration{"0": backend.NoExpiry, "07200000": 2 * time.Hour, hour: keep} {
				f := t.fenced()
				token := f.take()
				t.Answer(t.EvalKeys(lua.Raise, f.two(), token, "41", arg), "raise of a missing counter", 1)
				f.counts(41, want, "after a raise that keeps it for "+arg)
			}
		},
	}, {
		name: "Eval/raise of bad numbers",
		why:  "0 is not a fencing token, and invalid numbers must be rejected",
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
		name:  "Eval/raise with an invalid counter",
		needs: []string{"SetOther"},
		why:   "if an invalid counter counted as 0, tokens could go down",
		run: func(t *trial) {
			for _, bad := range badCounters() {
				f := t.fenced()
				f.standsAt(bad)
				token := f.take()
				t.failsWith("FENCE", f.counter, lua.Raise, f.two(), token, "41", hour)
				f.unchanged(bad, "after a raise that failed")
				t.Answer(t.EvalKeys(lua.Raise, f.two(), t.Name(), "41", hour), "raise by another token", 0)
			}
			f := t.fenced()
			t.SetOther(f.counter)
			t.failsWith("FENCE", f.counter, lua.Raise, f.two(), f.take(), "41", hour)
		},
	}, {
		name: "Eval/raise too far ahead",
		why:  "one rogue raise could move a counter to its limit, where it is stuck forever",
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
		why:   "a key that does not hold a token belongs to another program",
		run: func(t *trial) {
			f := t.fenced()
			t.SetOther(f.lock)
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(t.EvalKeys(lua.Raise, f.two(), token, "41", hour), "raise for a key of another type", 0)
			}
			t.missing(f.counter, "after refused raises, the counter")
		},
	}}
}
