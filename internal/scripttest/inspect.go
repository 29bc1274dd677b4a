package scripttest

import (
	"slices"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

func inspectChecks() []rule {
	return []rule{{
		name: "Eval/inspect of a held lock",
		why:  "people want to know who holds a lock and for how long, and inspecting must not change it",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			for range 2 {
				e := t.Inspect(key)
				if !e.Found || e.Value != token {
					t.Failf("inspect of a key that holds %q returns %+v", token, e)
				}
				if e.TTL > long || e.TTL < long-call {
					t.Failf("inspect of a key with a time to live of %v returns %v", long, e.TTL)
				}
			}
			t.EvalDelete(key, token, true, "an inspected key, by its holder")
		},
	}, {
		name: "Eval/inspect of a free lock",
		why:  "a free lock must not seem held, and inspecting must not acquire it",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key := t.Name()
			for range 2 {
				if r := t.Eval(lua.Inspect, key); !slices.Equal(r, backend.Reply{int64(0), "", int64(0)}) {
					t.Failf("inspect of a key that does not exist answers %v", check.Brief(r))
				}
			}
			t.SetNX(key, t.Name(), long, true, "a free key that was inspected")
		},
	}, {
		name:  "Eval/inspect of a lock without expiry",
		needs: []string{"Set"},
		why:   "a lock that never expires must be visible as such",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key, token := t.Name(), t.Name()
			t.Set(key, token, backend.NoExpiry)
			if r := t.Eval(lua.Inspect, key); !slices.Equal(r, backend.Reply{int64(1), token, int64(-1)}) {
				t.Failf("inspect of a key without an expiry that holds %q answers %v, want a time to live of -1", token, check.Brief(r))
			}
		},
	}, {
		name:  "Eval/inspect of another type",
		needs: []string{"SetOther"},
		why:   "people must see that the key is taken, even if not by a lock",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			key := t.Name()
			t.SetOther(key)
			if e := t.Inspect(key); !e.Found || e.Value != "" {
				t.Failf("inspect of a key of another type returns %+v, want it found without a value", e)
			}
		},
	}, {
		name:  "Eval/inspect of a queue",
		needs: []string{"Subscriber"},
		why:   "people want to know how many callers wait, and inspecting must not change it",
		run: func(t *trial) {
			q := t.queue()
			q.inQueue("before the first waiter")
			token := q.take()
			a, b, c := q.waiter(20), q.waiter(30), q.waiter(40)
			q.waits(a, 3000, 0, "the first one")
			q.waits(b, 2000, 1, "the second one")
			q.waits(c, 1000, 2, "the third one")
			for most, want := range map[string][]waiter{
				"0":               nil,
				"1":               {a},
				"2":               {a, b},
				"3":               {a, b, c},
				"999999999999999": {a, b, c},
			} {
				count, tickets, waited := q.look(most)
				if count != 3 || !slices.Equal(tickets, ticketsOf(want)) {
					t.Failf("inspect, at most %s of 3, returns %d waiters, %q, want 3 and %q", most, count, tickets, ticketsOf(want))
				}
				for i, ms := range waited {
					if least := int64(3000 - 1000*i); ms < least || ms > least+call.Milliseconds() {
						t.Failf("inspect returns that waiter %d has waited for %d ms, want slightly more than %d", i, ms, least)
					}
				}
			}
			if r := q.eval(lua.Inspect, "0"); len(r) != 4 || r[0] != int64(1) || r[1] != token {
				t.Failf("inspect of a lock and its queue answers %v, want {1, the token, its time to live, 3}", check.Brief(r))
			}
			for _, bad := range badNumbers() {
				q.fails(lua.Inspect, []string{q.lock, q.name}, bad)
			}
			q.leaves(b)
			q.inQueue("after one of three has died", a, b, c)
		},
	}, {
		name:  "Eval/inspect of a damaged queue",
		needs: []string{"SetOther"},
		why:   "a key that is not a queue has no waiters; that is an answer, not an error",
		run: func(t *trial) {
			q := t.queue()
			q.inQueue("without a queue")
			q.spoil()
			q.inQueue("with a list as the queue")
			q.take()
			if r := t.EvalKeys(lua.Inspect, []string{q.lock, q.lock}, "10"); len(r) != 4 || r[3] != int64(0) {
				t.Failf("inspect of a lock as its own queue answers %v, want no waiters", check.Brief(r))
			}
		},
	}}
}

// ticketsOf returns the tickets of the waiters.
func ticketsOf(waiters []waiter) (tickets []string) {
	for _, w := range waiters {
		tickets = append(tickets, w.ticket)
	}
	return tickets
}

// look returns the length of the queue, its first tickets, and how many milliseconds each
// has waited. most limits the number of tickets.
func (q queue) look(most string) (count int64, tickets []string, waited []int64) {
	r := q.eval(lua.Inspect, most)
	count, err := r.Int(3)
	for i := 4; err == nil && i < len(r); i += 2 {
		var ticket string
		var ms int64
		if ticket, err = r.Text(i); err == nil {
			ms, err = r.Int(i + 1)
		}
		tickets, waited = append(tickets, ticket), append(waited, ms)
	}
	if err != nil {
		q.t.Failf("inspect of a lock and its queue answers %v: %w", check.Brief(r), err)
	}
	return count, tickets, waited
}
