package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func inspectorChecks() []check {
	return []check{{
		name: "Inspect/held",
		why:  "people are told who holds a lock and for how long, and looking must not change it",
		run: func(t *trial) {
			i := has[backend.Inspector](t, "Inspector")
			key, token := t.name(), t.name()
			t.setNX(key, token, long, true, "a free key")
			for range 2 {
				e := t.inspect(i, key)
				if !e.Found || e.Value != token {
					t.failf("Inspect of a key that holds %q finds %+v", token, e)
				}
				if e.TTL > long || e.TTL < long-call {
					t.failf("Inspect of a key that lives for %v finds that it lives for %v", long, e.TTL)
				}
			}
			t.evalDelete(key, token, true, "a key that was looked at, by its holder")
		},
	}, {
		name: "Inspect/missing",
		why:  "a free lock must not look held, and looking must not take it",
		run: func(t *trial) {
			i := has[backend.Inspector](t, "Inspector")
			key := t.name()
			for range 2 {
				if e := t.inspect(i, key); e.Found || e.Value != "" {
					t.failf("Inspect of a key that does not exist finds %+v", e)
				}
			}
			t.setNX(key, t.name(), long, true, "a free key that was looked at")
		},
	}, {
		name:  "Inspect/no expiry",
		needs: []string{"Set"},
		why:   "a lock that will never expire by itself needs somebody to see it",
		run: func(t *trial) {
			i := has[backend.Inspector](t, "Inspector")
			key, token := t.name(), t.name()
			t.set(key, token, backend.NoExpiry)
			if e := t.inspect(i, key); !e.Found || e.Value != token || e.TTL != backend.NoExpiry {
				t.failf("Inspect of a key without an expiry that holds %q finds %+v, want a ttl of NoExpiry", token, e)
			}
		},
	}}
}

func pingerChecks() []check {
	return []check{{
		name: "Ping/answers",
		why:  "a server that answers must look well",
		run: func(t *trial) {
			p := has[backend.Pinger](t, "Pinger")
			ctx, cancel := context.WithTimeout(t.ctx, call)
			defer cancel()
			if err := p.Ping(ctx); err != nil {
				t.supported(err)
				t.failf("Ping of a server that answers: %w", err)
			}
		},
	}}
}

func namerChecks() []check {
	return []check{{
		name: "Name/stable",
		why:  "reports of one node must be found under one name, and a name that is empty tells nothing",
		run: func(t *trial) {
			n := has[backend.Namer](t, "Namer")
			name := n.Name()
			if name == "" {
				t.failf("the name is empty")
			}
			t.setNX(t.name(), t.name(), long, true, "a free key")
			t.parallel(crowd, func(int) {
				if again := n.Name(); again != name {
					t.failf("the name was %q, and then %q", name, again)
				}
			})
		},
	}, {
		name:  "Name/no I/O",
		needs: []string{"Stall"},
		why:   "the name is asked for while the server is down, to say which one it is",
		run: func(t *trial) {
			n := has[backend.Namer](t, "Namer")
			resume := t.stall()
			late, _ := t.within(2*time.Second, func(context.Context) error {
				n.Name()
				return nil
			})
			resume()
			if late > -time.Second {
				t.failf("Name waited for a server that does not answer")
			}
		},
	}}
}

func partitionerChecks() []check {
	return []check{{
		name: "Partition/stable",
		why:  "the operations on a key wait for each other, those of another part for nothing",
		run: func(t *trial) {
			p := has[backend.Partitioner](t, "Partitioner")
			_, parts := p.Partition("")
			for range 100 {
				key := t.name()
				part, n := p.Partition(key)
				if n != parts || part < 0 || part >= n {
					t.failf("%q is in part %d of %d, of a node of %d", key, part, n, parts)
				}
				if again, _ := p.Partition(key); again != part {
					t.failf("%q is in part %d, and then in part %d", key, part, again)
				}
			}
		},
	}}
}
