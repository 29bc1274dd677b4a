package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func inspectorChecks() []rule {
	return []rule{{
		name: "Inspect/held",
		why:  "people are told who holds a lock and for how long, and looking must not change it",
		run: func(t *trial) {
			i := has[backend.Inspector](t, "Inspector")
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			for range 2 {
				e := t.inspect(i, key)
				if !e.Found || e.Value != token {
					t.Failf("Inspect of a key that holds %q finds %+v", token, e)
				}
				if e.TTL > long || e.TTL < long-call {
					t.Failf("Inspect of a key that lives for %v finds that it lives for %v", long, e.TTL)
				}
			}
			t.EvalDelete(key, token, true, "a key that was looked at, by its holder")
		},
	}, {
		name: "Inspect/missing",
		why:  "a free lock must not look held, and looking must not take it",
		run: func(t *trial) {
			i := has[backend.Inspector](t, "Inspector")
			key := t.Name()
			for range 2 {
				if e := t.inspect(i, key); e.Found || e.Value != "" {
					t.Failf("Inspect of a key that does not exist finds %+v", e)
				}
			}
			t.SetNX(key, t.Name(), long, true, "a free key that was looked at")
		},
	}, {
		name:  "Inspect/no expiry",
		needs: []string{"Set"},
		why:   "a lock that will never expire by itself needs somebody to see it",
		run: func(t *trial) {
			i := has[backend.Inspector](t, "Inspector")
			key, token := t.Name(), t.Name()
			t.Set(key, token, backend.NoExpiry)
			if e := t.inspect(i, key); !e.Found || e.Value != token || e.TTL != backend.NoExpiry {
				t.Failf("Inspect of a key without an expiry that holds %q finds %+v, want a ttl of NoExpiry", token, e)
			}
		},
	}}
}

func pingerChecks() []rule {
	return []rule{{
		name: "Ping/answers",
		why:  "a server that answers must look well",
		run: func(t *trial) {
			p := has[backend.Pinger](t, "Pinger")
			ctx, cancel := context.WithTimeout(t.Ctx, call)
			defer cancel()
			if err := p.Ping(ctx); err != nil {
				t.Supported(err)
				t.Failf("Ping of a server that answers: %w", err)
			}
		},
	}}
}

func namerChecks() []rule {
	return []rule{{
		name: "Name/stable",
		why:  "reports of one node must be found under one name, and a name that is empty tells nothing",
		run: func(t *trial) {
			n := has[backend.Namer](t, "Namer")
			name := n.Name()
			if name == "" {
				t.Failf("the name is empty")
			}
			t.SetNX(t.Name(), t.Name(), long, true, "a free key")
			t.Parallel(crowd, func(int) {
				if again := n.Name(); again != name {
					t.Failf("the name was %q, and then %q", name, again)
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
			late, _ := t.Within(2*time.Second, func(context.Context) error {
				n.Name()
				return nil
			})
			resume()
			if late > -time.Second {
				t.Failf("Name waited for a server that does not answer")
			}
		},
	}}
}

func partitionerChecks() []rule {
	return []rule{{
		name: "Partition/stable",
		why:  "the operations on a key wait for each other, those of another part for nothing",
		run: func(t *trial) {
			p := has[backend.Partitioner](t, "Partitioner")
			_, parts := p.Partition("")
			for range 100 {
				key := t.Name()
				part, n := p.Partition(key)
				if n != parts || part < 0 || part >= n {
					t.Failf("%q is in part %d of %d, of a node of %d", key, part, n, parts)
				}
				if again, _ := p.Partition(key); again != part {
					t.Failf("%q is in part %d, and then in part %d", key, part, again)
				}
			}
		},
	}}
}
