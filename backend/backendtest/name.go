package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func namerChecks() []rule {
	return []rule{{
		name: "Name/stable",
		why:  "all reports about one node must have one name, and an empty name says nothing",
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
		why:   "the name is needed while the server is down, to say which server it is",
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
		why:  "operations on one key wait for each other, but operations on another part must not wait for them",
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
