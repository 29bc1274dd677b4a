package memory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A queue is a lock and its queue on their own node, in a bubble.
type queue struct {
	*testing.T
	n     *Node
	heard map[string]*[]string // messages received, by ticket
}

func inQueue(t *testing.T, f func(q *queue)) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{t, New(), map[string]*[]string{}}
		f(q)
	})
}

func (q *queue) eval(s *backend.Script, args ...string) backend.Reply {
	q.Helper()
	keys := []string{"k", "k:q"}
	r, err := q.n.Eval(q.Context(), s, keys, args)
	if err != nil {
		q.Fatalf("%s %q: %v", s.Name(), args, err)
	}
	return r
}

// wants fails the test unless s returns want.
func (q *queue) wants(want backend.Reply, s *backend.Script, args ...string) {
	q.Helper()
	if got := q.eval(s, args...); !slices.Equal(got, want) {
		q.Errorf("%s %q answers %v, want %v", s.Name(), args, got, want)
	}
}

// hasTickets fails the test unless the queue has count tickets and begins with these. At most some of
// them are requested.
func (q *queue) hasTickets(most string, count int64, tickets ...string) {
	q.Helper()
	reply := q.eval(lua.Inspect, most)[3:]
	var got []string
	for i := 1; i < len(reply); i += 2 {
		got = append(got, reply[i].(string))
	}
	if reply[0] != count || !slices.Equal(got, tickets) {
		q.Errorf("the waiters are %v, want %d, %q", reply, count, tickets)
	}
}

// waits adds a new waiter to the queue, and returns its ticket.
func (q *queue) waits(grace int, name string) string {
	q.Helper()
	ticket := fmt.Sprintf("%d:%s", grace, name)
	q.heard[name], _, _ = listen(q.Context(), q.n, name)
	if r := q.eval(lua.Acquire, "t-"+name, "1000", ticket, "0"); len(r) != 4 || r[0] != int64(0) || r[2] == int64(-1) {
		q.Fatalf("%q is not in the queue: %v", ticket, r)
	}
	time.Sleep(time.Millisecond)
	return ticket
}

// hears fails the test unless the waiter has received exactly want since the last call.
func (q *queue) hears(name string, want ...string) {
	q.Helper()
	synctest.Wait()
	if got := *q.heard[name]; !slices.Equal(got, want) {
		q.Errorf("%q has received %q, want %q", name, got, want)
	}
	*q.heard[name] = nil
}

// holds fails the test unless the lock holds value with this time to live.
func (q *queue) holds(value string, ttl time.Duration) {
	q.Helper()
	e, err := q.n.Inspect(q.Context(), "k")
	if err != nil || e.Value != value || e.Found && e.TTL != ttl {
		q.Errorf("the lock is %+v, %v, want %q for %v", e, err, value, ttl)
	}
}

func TestQueue(t *testing.T) {
	inQueue(t, func(q *queue) {
		q.n.Set("k", "held", time.Minute)
		a, b, c, d := q.waits(20, "a"), q.waits(30, "b:ä\x00"), q.waits(40, "c"), q.waits(50, "d")
		q.hasTickets("9", 4, a, b, c, d)
		q.hasTickets("1", 4, a)
		q.hasTickets("0", 4)
		if got, want := q.eval(lua.Inspect, "3")[3:], (backend.Reply{int64(4), a, int64(4), b, int64(3), c, int64(2)}); !slices.Equal(got, want) {
			q.Errorf("the queue is %v, want %v", got, want)
		}

		q.wants(backend.Reply{int64(1)}, lua.Release, "held", "", "other")
		q.holds("~"+a, 20*time.Millisecond)
		q.hears("a", "gk")
		q.hears("b:ä\x00", "n20:k")
		q.hears("c", "n20:k")
		q.hears("d")
		q.hasTickets("9", 3, b, c, d)

		// While the lock is reserved, others are refused, and the notified waiter gets it.
		q.wants(backend.Reply{int64(0), int64(20), int64(1), "~" + a}, lua.Acquire, "t", "1000", c, "0")
		q.wants(backend.Reply{int64(1), int64(1000)}, lua.Acquire, "t-a", "1000", a, "0")
		q.holds("t-a", time.Second)

		// It loses on another node, and gets its old place.
		q.wants(backend.Reply{int64(1)}, lua.Rollback, "t-a", a, "1000", "0")
		q.holds("", 0)
		q.hasTickets("9", 4, a, b, c, d)

		// A waiter that gives up notifies the next one, both if the lock is free and if it was
		// reserved for that waiter.
		q.wants(backend.Reply{int64(0)}, lua.Release, "", a, "")
		q.holds("~"+b, 30*time.Millisecond)
		q.hears("b:ä\x00", "gk")
		q.hears("c", "n30:k")
		q.hears("d", "n30:k")
		q.wants(backend.Reply{int64(0)}, lua.Release, "", b, "")
		q.holds("~"+c, 40*time.Millisecond)
		q.hears("d", "n40:k")

		// A reservation that nobody uses ends.
		time.Sleep(40 * time.Millisecond)
		q.holds("", 0)
		q.wants(backend.Reply{int64(1), int64(1000)}, lua.Acquire, "t-d", "1000", d, "0")
		q.hasTickets("9", 0)
		if keys := q.n.Keys(); !slices.Equal(keys, []string{"k"}) {
			t.Errorf("the keys are %q, want the lock alone", keys)
		}
		q.wants(backend.Reply{int64(1)}, lua.Release, "t-d", d, "")
		q.holds("", 0)
	})
}

// A rollback that notifies does not notify its own waiter.
func TestRollbackNotifiesAnother(t *testing.T) {
	inQueue(t, func(q *queue) {
		q.n.Set("k", "held", time.Minute)
		a := q.waits(20, "a")
		q.wants(backend.Reply{int64(1)}, lua.Rollback, "held", a, "9000", "1")
		q.holds("", 0)
		q.hears("a")
		q.hasTickets("9", 1, a)

		q.n.Set("k", "held", time.Minute)
		b := q.waits(30, "b")
		q.wants(backend.Reply{int64(0)}, lua.Rollback, "not held", a, "9000", "1")
		q.wants(backend.Reply{int64(1)}, lua.Rollback, "held", a, "9000", "1")
		q.holds("~"+b, 30*time.Millisecond)
		q.hears("b", "gk")
		q.hears("a")
		q.hasTickets("9", 1, a)
	})
}

func TestDeadTickets(t *testing.T) {
	inQueue(t, func(q *queue) {
		q.n.Set("k", "held", time.Minute)
		for _, ticket := range []string{
			"20:nobody", "", "20", ":", ":a", "0:a", "020:a", "+20:a", "1e3:a", "100000:a", "-1:a", " 20:a", "20 :a", "2.5:a", "~20:a",
		} {
			_, _, _ = listen(q.Context(), q.n, "a")
			q.wants(backend.Reply{int64(0), int64(60_000), int64(-1), "held"}, lua.Acquire, "t", "1000", ticket, "0")
		}
		q.hasTickets("9", 0)

		for i := range mostDead + 4 {
			q.n.db.zadd("k:q", fmt.Sprintf("20:dead %d", i), float64(i))
		}
		alive := q.waits(20, "alive")
		q.wants(backend.Reply{int64(1), "", int64(1)}, lua.Release, "held", "", "")
		q.holds("", 0)
		q.hears("alive")
		q.hasTickets("1", 5, "20:dead 515")
		q.wants(backend.Reply{int64(0)}, lua.Release, "", "", "")
		q.holds("~"+alive, 20*time.Millisecond)
		q.hears("alive", "gk")
	})
}

// A damaged queue does not prevent the use of the lock.
func TestQueueOfAnotherType(t *testing.T) {
	inQueue(t, func(q *queue) {
		q.n.Push("k:q", "x")
		_, _, _ = listen(q.Context(), q.n, "a")
		for _, give := range []struct {
			script *backend.Script
			args   []string
		}{
			{lua.Release, []string{"held", "20:a", ""}},
			{lua.Rollback, []string{"held", "20:a", "0", "0"}},
			{lua.Rollback, []string{"held", "20:a", "0", "1"}},
		} {
			q.n.Set("k", "held", time.Minute)
			q.wants(backend.Reply{int64(0), int64(60_000), int64(-1), "held", "ZADD: " + errWrongType.Error()}, lua.Acquire, "t", "1000", "20:a", "0")
			q.wants(backend.Reply{int64(1)}, give.script, give.args...)
			q.holds("", 0)
		}
		q.hasTickets("9", 0)
		q.wants(backend.Reply{int64(1), int64(1000)}, lua.Acquire, "t", "1000", "20:a", "0")
	})
}

// Waiters that sleep for long leave nothing behind.
func TestQueueExpires(t *testing.T) {
	inQueue(t, func(q *queue) {
		q.n.Set("k", "held", time.Hour)
		a := q.waits(20, "a")
		time.Sleep(9 * time.Minute)
		q.waits(20, "b") // keeps the queue alive
		time.Sleep(9 * time.Minute)
		q.hasTickets("1", 2, a)
		time.Sleep(time.Minute)
		q.hasTickets("1", 0)
	})
}

// An empty token matches nothing, and no other text counts as a reservation.
func TestReleaseWithoutToken(t *testing.T) {
	inQueue(t, func(q *queue) {
		for _, value := range []string{"", "~", "~20:a", "held"} {
			for _, args := range [][]string{{"", "", ""}, {"", "20:b", ""}, {"20:a", "", ""}, {"~", "20", ""}} {
				if value == args[0] {
					continue
				}
				q.n.Set("k", value, time.Minute)
				q.wants(backend.Reply{int64(0)}, lua.Release, args...)
				q.holds(value, time.Minute)
			}
			q.wants(backend.Reply{int64(0)}, lua.Rollback, "", "", "", "1")
			q.holds(value, time.Minute)
		}
		q.n.Push("k", "")
		q.wants(backend.Reply{int64(0)}, lua.Release, "", "", "")
		q.holds("", backend.NoExpiry)
	})
}

func TestQueueArguments(t *testing.T) {
	inQueue(t, func(q *queue) {
		_, _, _ = listen(q.Context(), q.n, "a")
		q.n.Set("k", "held", time.Minute)
		for _, waited := range []string{"", "-1", "1.5", "soon", "0x1", "1e3", "nan", strings.Repeat("9", 16)} {
			for _, run := range []struct {
				script *backend.Script
				args   []string
			}{
				{lua.Acquire, []string{"t", "1000", "20:a", waited}},
				{lua.Rollback, []string{"held", "20:a", waited, "1"}},
				{lua.Inspect, []string{waited}},
			} {
				if r, err := q.n.Eval(t.Context(), run.script, []string{"k", "k:q"}, run.args); err == nil {
					t.Errorf("%s %q answers %v, want an error", run.script.Name(), run.args, r)
				}
			}
		}
		q.holds("held", time.Minute)
		if keys := q.n.Keys(); !slices.Equal(keys, []string{"k"}) {
			t.Errorf("the keys are %q, want the lock alone", keys)
		}
	})
}
