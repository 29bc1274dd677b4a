package scripttest

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

func prolongChecks() []rule {
	hour := millis(keep)
	return []rule{{
		name:  "Eval/prolong",
		needs: []string{"Set"},
		why:   "the holder relies on the lock for as long as it was extended; other locks must not live longer",
		run: func(t *trial) {
			f := t.fenced()
			token, other := t.Name(), t.Name()
			prolong := func(token, ttl string) backend.Reply {
				return t.EvalKeys(lua.Prolong, f.two(), token, ttl, "41", hour)
			}
			t.Answer(prolong(token, "60000"), "extension of a lock that is free", 0)
			f.free("after a refused extension")
			t.missing(f.counter, "after a refused extension, the counter")
			v, _ := f.votes(token, 0, 0, "whose counter is missing")
			t.Answer(prolong(other, "600000"), "extension of a lock that another token holds", 0)
			t.Answer(prolong("", "600000"), "extension without a token", 0)
			f.holds(token, long, "after extensions by others")
			t.Answer(prolong(token, "0600000"), "extension by the holder", 1)
			f.holds(token, 10*long, "after an extension")
			t.Answer(prolong(token, "60000"), "extension by the holder for less than remains", 1)
			f.holds(token, 10*long, "after an extension for less than remains")
			f.counts(v, keep, "after extensions")
			t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
			t.Answer(prolong(token, "60000"), "extension after the release", 0)
			f.free("after an extension that follows the release")

			endless := t.fenced()
			t.Set(endless.lock, token, backend.NoExpiry)
			t.Answer(t.EvalKeys(lua.Prolong, endless.two(), token, "60000", "41", hour), "extension of a lock without an expiry", 1)
			if r := t.Eval(lua.Inspect, endless.lock); len(r) != 3 || r[2] != int64(-1) {
				t.Failf("after an extension, the lock without an expiry is %v", check.Brief(r))
			}
		},
	}, {
		name: "Eval/prolong restores the counter",
		why:  "a lock may outlive its counter, or the counter may be lost; its token must not be granted again",
		run: func(t *trial) {
			f := t.fenced()
			token := f.take()
			now := t.now()
			prolong := func(value int64, keep string) {
				t.Answer(t.EvalKeys(lua.Prolong, f.two(), token, "60000", decimal(value), keep), "extension by the holder", 1)
			}
			prolong(now, hour)
			f.counts(now, keep, "after an extension with a missing counter")
			prolong(now+5, "7200000")
			f.counts(now+5, 2*time.Hour, "after an extension with a lower counter")
			prolong(now+5, hour)
			f.counts(now+5, keep, "after an extension with a counter life of an hour")
			prolong(now, "7200000")
			f.counts(now+5, 2*time.Hour, "after an extension with a higher counter")
			prolong(now, "0")
			f.counts(now+5, backend.NoExpiry, "after an extension with a counter that never expires")
			prolong(now+6, "0")
			f.counts(now+6, backend.NoExpiry, "after an extension with a lower counter that never expires")
		},
	}, {
		name: "Eval/prolong of bad numbers",
		why:  "a script that fails halfway has written something: it must check its arguments before it writes",
		run: func(t *trial) {
			f := t.fenced()
			token := f.take()
			for _, bad := range append(badNumbers(), "12345678901234567") {
				f.fails(lua.Prolong, f.two(), token, bad, "41", hour)
				if bad != "9999999999999999" { // a valid number, but too high
					f.fails(lua.Prolong, f.two(), token, "600000", bad, hour)
				}
				f.fails(lua.Prolong, f.two(), token, "600000", "41", bad)
			}
			f.fails(lua.Prolong, f.two(), token, "0", "41", hour)
			f.fails(lua.Prolong, f.two(), token, "600000", "0", hour)
			t.missing(f.counter, "after extensions that failed, the counter")
			f.holds(token, long, "after extensions that failed")
		},
	}, {
		name:  "Eval/prolong with an invalid counter",
		needs: []string{"SetOther"},
		why:   "an invalid counter must not end a lock that is held; with it, no vote is possible anyway",
		run: func(t *trial) {
			for _, bad := range badCounters() {
				f := t.fenced()
				f.standsAt(bad)
				token := f.take()
				t.Answer(t.EvalKeys(lua.Prolong, f.two(), token, "600000", "41", hour), "extension with an invalid counter", 1)
				f.holds(token, 10*long, "after an extension with an invalid counter")
				f.unchanged(bad, "after an extension")
			}
			f := t.fenced()
			t.SetOther(f.counter)
			t.Answer(t.EvalKeys(lua.Prolong, f.two(), f.take(), "600000", "41", hour), "extension with a list as the counter", 1)
		},
	}, {
		name: "Eval/prolong too far ahead",
		why:  "an extension must obey the same limit as a raise",
		run: func(t *trial) {
			f := t.fenced()
			token := t.Name()
			v, now := f.votes(token, 0, 0, "whose counter is missing")
			for _, value := range tooHigh(now) {
				t.failsWith("FENCE", f.counter, lua.Prolong, f.two(), token, "600000", decimal(value), hour)
			}
			f.counts(v, keep, "after extensions that failed")
			f.holds(token, long, "after extensions that failed")
			t.Answer(t.EvalKeys(lua.Prolong, f.two(), token, "600000", decimal(ahead(now, farAhead)), hour), "extension with a value less than a day ahead", 1)
			f.counts(ahead(now, farAhead), keep, "after an extension with a value less than a day ahead")
		},
	}, {
		name:  "Eval/prolong of another type",
		needs: []string{"SetOther"},
		why:   "a key that does not hold a token belongs to another program",
		run: func(t *trial) {
			f := t.fenced()
			t.SetOther(f.lock)
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(t.EvalKeys(lua.Prolong, f.two(), token, "60000", "41", hour), "extension of a key of another type", 0)
			}
			t.missing(f.counter, "after refused extensions, the counter")
		},
	}}
}
