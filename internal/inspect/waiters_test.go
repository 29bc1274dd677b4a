package inspect

import (
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// Waiters are ordered by their best place on any node.
func TestWaiters(t *testing.T) {
	queue := func(waiting int, names string) (f finding) {
		f.Waiting, f.Waited = waiting, make([]time.Duration, len(names))
		for _, c := range names {
			ticket := "20:redlock:inbox:" + string(c) + ":ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			if c == '-' {
				ticket = "rubbish"
			}
			f.Tickets = append(f.Tickets, ticket)
		}
		return f
	}
	for _, tt := range []struct {
		name  string
		nodes []finding
		count int
		want  string
	}{
		{"nobody", []finding{{}, {}}, 0, ""},
		{"no node knows", []finding{queue(-1, ""), queue(-1, "")}, -1, ""},
		{"one node knows", []finding{queue(-1, ""), queue(2, "ab"), queue(-1, "")}, 2, "ab"},
		{"different orders", []finding{queue(3, "abc"), queue(3, "bac")}, 3, "abc"},
		{"first on one node", []finding{queue(3, "abc"), queue(1, "c")}, 3, "acb"},
		{"each on a node of its own", []finding{queue(1, "a"), queue(1, "b")}, 2, "ab"},
		{"more than are shown", []finding{queue(7, "ab"), queue(9, "ab")}, 9, "ab"},
		{"rubbish", []finding{queue(3, "a-b")}, 3, "ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			count, list := waiters(tt.nodes)
			var got string
			for _, w := range list {
				got += w.Owner
			}
			if count != tt.count || got != tt.want {
				t.Errorf("%d waiters, %q; want %d, %q", count, got, tt.count, tt.want)
			}
		})
	}
}

// A waiter's time is what most of the nodes say where it is queued.
func TestWaited(t *testing.T) {
	for _, tt := range []struct {
		said []time.Duration
		want time.Duration
	}{
		{[]time.Duration{5}, 5},
		{[]time.Duration{7, 5, time.Hour}, 7},
		{[]time.Duration{7, -1, 6}, 6},
		{[]time.Duration{-1, -1, 6}, -1},
		{[]time.Duration{7, 6}, 6},
	} {
		queue := func(waiting int, tickets []string, waited ...time.Duration) finding {
			return finding{Inspected: proto.Inspected{Waiting: waiting, Tickets: tickets, Waited: waited}}
		}
		findings := []finding{queue(-1, nil), queue(1, []string{"20:y"}, time.Minute)}
		for _, d := range tt.said {
			findings = append(findings, queue(2, []string{"20:y", "20:x"}, 0, d))
		}
		if got := waited("20:x", findings); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.said, got, tt.want)
		}
	}
}

// The label of a waiter is read only from tickets, whatever prefix they begin with.
func TestWaiterOf(t *testing.T) {
	random := proto.NewToken("")
	for ticket, want := range map[string]string{
		"20:redlock:inbox:me:" + random:           "me",
		"99999:app:redlock:inbox:a:b:" + random:   "a:b",
		"20:redlock:inbox:" + random:              "",
		"20:me:" + random:                         "", // of another program
		"20:":                                     "",
		"20:redlock:inbox:größe:" + random:        "größe",
		"1:redlock:inbox:redlock:inbox:" + random: "redlock:inbox",
	} {
		if got, ok := waiterOf(ticket); !ok || got.Owner != want || len(got.Fingerprint) != 8 {
			t.Errorf("the waiter of %q is %+v, %v, want %q", ticket, got, ok, want)
		}
	}
	for _, ticket := range []string{"", "20", ":x", "0:x", "020:x", "100000:x", "-5:x", "+5:x", "2 :x", "us", random} {
		if got, ok := waiterOf(ticket); ok {
			t.Errorf("%q is read as the ticket of %+v", ticket, got)
		}
	}
}
