package scripttest

import (
	"slices"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

func slotsChecks() []rule {
	return []rule{{
		name: "Eval/slots",
		why:  "a caller must find a free slot, and sleep only if none is free",
		run: func(t *trial) {
			q := t.queue()
			free, taken := q.neighbour(), q.neighbour()
			taken.take()
			for _, keys := range [][]string{{free.lock, taken.lock, free.lock}, {free.lock, taken.lock}, {taken.lock}} {
				r := t.EvalKeys(lua.Slots, keys)
				if len(r) != len(keys) {
					t.Failf("slots of %d keys answers %v", len(keys), check.Brief(r))
				}
				for i, key := range keys {
					if left, err := r.Int(i); err != nil || key == free.lock && left != -2 || key == taken.lock && !lives(left) {
						t.Failf("slots answers %v for number %d, free: %v, in %v", r[i], i, key == free.lock, check.Brief(r))
					}
				}
			}
			t.SetNX(free.lock, t.Name(), long, true, "a free slot that was looked at")
		},
	}, {
		name:  "Eval/slots that do not expire",
		needs: []string{"Set", "SetOther"},
		why:   "a slot that another program uses is taken",
		run: func(t *trial) {
			q := t.queue()
			other := q.neighbour()
			t.Set(q.lock, t.Name(), backend.NoExpiry)
			t.SetOther(other.lock)
			r := t.EvalKeys(lua.Slots, []string{q.lock, other.lock}, "20:"+t.Name())
			left, err := int64(0), error(nil)
			if len(r) == 2 {
				left, err = r.Int(1)
			}
			if len(r) != 2 || err != nil || r[0] != int64(-1) || left == -2 {
				t.Failf("slots of a key without an expiry, and of another type, answers %v", check.Brief(r))
			}
		},
	}, {
		name:  "Eval/slots that are reserved",
		needs: []string{"Subscriber"},
		why:   "a slot that is reserved for a waiter is free for it, and taken for everybody else",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			w := q.waiter(1000)
			q.waits(w, 0, 0, "the only one")
			t.Answer(q.eval(lua.Release, token), "release of a slot by its holder", 1)
			q.reserved(w, "after the release")
			if r := t.EvalKeys(lua.Slots, []string{q.lock}, w.ticket); !slices.Equal(r, backend.Reply{int64(-2)}) {
				t.Failf("slots with the ticket for which one is reserved answers %v, want {-2}", check.Brief(r))
			}
			for _, ticket := range []string{"", "20:" + t.Name(), "~" + w.ticket} {
				r := t.EvalKeys(lua.Slots, []string{q.lock}, ticket)
				if left, err := r.Int(0); err != nil || !lives(left) {
					t.Failf("slots with the ticket %q answers %v, want the life of the reservation", ticket, check.Brief(r))
				}
			}
			q.staysReserved(w, "after it was looked at")
		},
	}}
}

// lives reports whether left is the rest of a life that began during this check.
func lives(left int64) bool {
	return left <= long.Milliseconds() && left >= (long-call).Milliseconds()
}
