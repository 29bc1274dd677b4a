package scripttest

import (
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

func waitersChecks() []rule {
	return []rule{{
		name:  "Eval/waiters",
		needs: []string{"Subscriber"},
		why:   "people are told how many wait, and looking must not change it",
		run: func(t *trial) {
			q := t.queue()
			q.stand("before anybody asked")
			q.take()
			a, b, c := q.waiter(20), q.waiter(30), q.waiter(40)
			q.waits(a, 3000, 0, "the first one")
			q.waits(b, 2000, 1, "the second one")
			q.waits(c, 1000, 2, "the third one")
			for most, want := range map[string]backend.Reply{
				"0":               {int64(3)},
				"1":               {int64(3), a.ticket},
				"2":               {int64(3), a.ticket, b.ticket},
				"3":               {int64(3), a.ticket, b.ticket, c.ticket},
				"999999999999999": {int64(3), a.ticket, b.ticket, c.ticket},
			} {
				if r := t.Eval(lua.Waiters, q.name, most); !slices.Equal(r, want) {
					t.Failf("waiters, at most %s of 3, answers %v, want %v", most, check.Brief(r), check.Brief(want))
				}
			}
			r := t.Eval(lua.Waiters, q.name, "2", "1")
			first, err1 := r.Int(2)
			second, err2 := r.Int(4)
			if len(r) != 5 || r[0] != int64(3) || r[1] != a.ticket || r[3] != b.ticket || err1 != nil || err2 != nil ||
				first < 3000 || second < 2000 || first-second < 999 || first > (3*time.Second+call).Milliseconds() {
				t.Failf("waiters, two of 3 with the times, answers %v, want {3, the first, 3000 ms and a little, the second, 2000}", check.Brief(r))
			}
			for _, bad := range badNumbers() {
				q.fails(lua.Waiters, []string{q.name}, bad)
			}
			q.leaves(b)
			q.stand("after one of three died", a, b, c)
		},
	}, {
		name:  "Eval/waiters of no queue",
		needs: []string{"SetOther"},
		why:   "nobody waits in what is no queue; that is an answer, not an error",
		run: func(t *trial) {
			q := t.queue()
			q.spoil()
			t.Answer(t.Eval(lua.Waiters, q.name, "10"), "waiters of a list", 0)
			t.Answer(t.Eval(lua.Waiters, q.lock, "10"), "waiters of a key that does not exist", 0)
			q.take()
			t.Answer(t.Eval(lua.Waiters, q.lock, "10"), "waiters of a string", 0)
		},
	}}
}
