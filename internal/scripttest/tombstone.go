package scripttest

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// An ender is a script that ends an attempt.
type ender struct {
	script *backend.Script
	args   func(token, ticket, life string) []string
}

func enders() []ender {
	return []ender{
		{lua.Release, func(token, ticket, life string) []string { return []string{token, ticket, "", life} }},
		{lua.Rollback, func(token, ticket, life string) []string { return []string{token, ticket, "0", "0", life} }},
		{lua.Rollback, func(token, ticket, life string) []string { return []string{token, ticket, "0", "1", life} }},
	}
}

func tombstoneChecks() []rule {
	const ms = 60_000
	return []rule{{
		name:  "Eval/release and rollback add a tombstone",
		needs: []string{"Subscriber"},
		why:   "a vote that is under way, or was sent twice, may arrive after the release; it must find that its attempt has ended, even if the release found no lock",
		run: func(t *trial) {
			for _, e := range enders() {
				f := t.fenced()
				end := func(token, ticket string) backend.Reply {
					f.sends()
					return t.EvalKeys(e.script, []string{f.lock, f.name, f.tomb(token)}, e.args(token, ticket, "060000")...)
				}
				early, token, other := t.Name(), t.Name(), t.Name()
				what := e.script.Name() + " with a tombstone, "
				t.Answer(end(early, ""), what+"of a free lock,", 0)
				f.ended(f.ask(early, 0), "vote that comes after its "+e.script.Name())
				c, _ := f.votes(token, 0, 0, "with another token's tombstone")
				t.Answer(end(other, ""), what+"of a lock that another token holds,", 0)
				f.holds(token, long, "after that")
				t.Answer(end(token, ""), what+"by the holder,", 1)
				f.free("after that")
				for _, dead := range []string{early, token, other} {
					f.ended(f.ask(dead, 0), "vote that comes after its "+e.script.Name())
					if r := t.Eval(lua.Inspect, f.tomb(dead)); len(r) != 3 {
						t.Failf("the tombstone is %v", check.Brief(r))
					} else {
						t.Left(backend.Reply{r[0], r[2]}, "the tombstone, without its value,", 1, ms)
					}
				}
				f.free("after votes for an ended attempt")
				f.counts(c, keep, "after votes for an ended attempt")

				// Waiters are notified or queued as usual.
				token = t.Name()
				f.votes(token, c, 0, "after votes for an ended attempt")
				w := f.waiter(ms)
				f.waits(w, 1000, 0, "the only waiter")
				calls := e.script == lua.Release || e.args("", "", "")[3] == "1"
				t.Answer(end(token, ""), what+"by the holder,", 1)
				if calls {
					f.reserved(w, "after that")
					f.receivesOnly(w, f.call())
				} else {
					f.free("after that")
					f.inQueue("after that", w)
				}
			}
		},
	}, {
		name: "Eval/release and rollback add no tombstone",
		why:  "a tombstone costs memory, so it must be requested",
		run: func(t *trial) {
			for _, e := range enders() {
				f := t.fenced()
				token := t.Name()
				c, _ := f.votes(token, 0, 0, "whose counter is missing")
				t.Answer(t.EvalKeys(e.script, []string{f.lock, f.name}, e.args(token, "", "60000")...), e.script.Name()+" by the holder", 1)
				t.missing(f.tomb(token), "after a "+e.script.Name()+" without a tombstone, the tombstone")
				f.votes(token, c, 0, "again, without a tombstone")
			}
		},
	}, {
		name:  "Eval/release and rollback with a tombstone of bad numbers",
		needs: []string{"Subscriber"},
		why:   "a script that fails halfway has written something: it must check its arguments before it writes",
		run: func(t *trial) {
			for _, e := range enders() {
				f := t.fenced()
				token := f.take()
				w := f.waiter(ms)
				f.waits(w, 0, 0, "the only waiter")
				for _, bad := range append(badNumbers(), "0") {
					f.fails(e.script, []string{f.lock, f.name, f.tomb(token)}, e.args(token, "", bad)...)
				}
				args := e.args(token, "", "60000")
				f.fails(e.script, []string{f.lock, f.name, f.tomb(token)}, args[:len(args)-1]...)
				f.holds(token, long, "after calls that failed")
				f.inQueue("after calls that failed", w)
				t.missing(f.tomb(token), "after calls that failed, the tombstone")
			}
		},
	}, {
		name: "Eval/release and rollback add a tombstone that expires",
		why:  "a tombstone that expires too early lets a late vote through, and one that stays wastes memory",
		run: func(t *trial) {
			for _, e := range enders() {
				t.Expires(3*short, "a tombstone", func(tomb, token string) (time.Duration, bool) {
					f := t.queueOf(tomb)
					f.lock, f.name = f.name, f.name+":queue" // a lock and a queue in the tombstone's slot
					began := t.Clock()
					t.EvalKeys(e.script, []string{f.lock, f.name, tomb}, e.args(token, "", millis(3*short))...)
					return began, true
				})
			}
		},
	}}
}
