package main

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// A lockState is what the servers say about one lock.
type lockState struct {
	name    string           // without the prefix
	fence   int64            // the fencing counter on the holder's servers; 0 if there is none or they differ
	permits []redlock.Status // the slots that are in use
	hidden  trouble          // the servers that failed, if it is unknown which are in use
	redlock.Status
}

// inspections is the number of locks that are inspected at a time.
const inspections = 16

// inspect asks the servers about locks. It returns one lockState for each name, in order.
func (c *connection) inspect(ctx context.Context, names []string) ([]lockState, error) {
	states := make([]lockState, len(names))
	errs := make([]error, len(names))
	turns := make(chan struct{}, inspections)
	var all sync.WaitGroup
	for i, name := range names {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			states[i].name = name
			states[i].Status, errs[i] = c.locker.Inspect(ctx, name)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return states, nil
}

// withoutFree removes locks that have ended since they were found.
func withoutFree(locks []lockState) []lockState {
	return slices.DeleteFunc(locks, func(l lockState) bool { return l.State == redlock.StateFree })
}

// count reads the fencing counters of held locks. While a holder has a lock, nobody else
// moves the counter on its servers. So if a quorum of these agrees, that is the fencing
// token of the holder, if it has locked with one.
func (c *connection) count(ctx context.Context, timeout time.Duration, locks []lockState) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var all sync.WaitGroup
	for i := range locks {
		l := &locks[i]
		counter, ok := proto.CounterKey(l.Key)
		if l.State != redlock.StateHeld || !ok {
			continue
		}
		values := make([]int64, len(l.Nodes))
		var nodes sync.WaitGroup
		for j, n := range l.Nodes {
			if n.Fingerprint != l.Fingerprint {
				continue
			}
			nodes.Go(func() { values[j] = fenceOf(ctx, c.clients[j], counter) })
		}
		all.Go(func() {
			nodes.Wait()
			agree := make(map[int64]int)
			for _, v := range values {
				if agree[v]++; v > 0 && agree[v] > len(values)/2 {
					l.fence = v
				}
			}
		})
	}
	all.Wait()
}

// fenceOf returns the value of a fencing counter, or 0 if there is none.
func fenceOf(ctx context.Context, client redis.UniversalClient, counter string) int64 {
	value, err := client.Get(ctx, counter).Result()
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || len(value) > 16 {
		return 0
	}
	return n
}

// trouble returns what is wrong with the servers that did not answer.
func (l *lockState) trouble() trouble { return statusTrouble(l.Status) }

func statusTrouble(s redlock.Status) trouble {
	t := trouble{size: len(s.Nodes), need: len(s.Nodes)/2 + 1}
	for _, n := range s.Nodes {
		if n.Err != nil {
			t.add(n.Node, complain(n.Err, n.Latency))
		}
	}
	return t
}

// A claim is what one or more servers say about who has a lock.
type claim struct {
	state              redlock.State
	owner, fingerprint string
	servers            int
}

// claims returns who has the lock on some server, most servers first.
func (l *lockState) claims() []claim {
	var list []claim
	for _, n := range l.Nodes {
		if n.State != redlock.StateHeld && n.State != redlock.StateReserved {
			continue
		}
		i := slices.IndexFunc(list, func(c claim) bool { return c.state == n.State && c.fingerprint == n.Fingerprint })
		if i < 0 {
			i = len(list)
			list = append(list, claim{n.State, n.Owner, n.Fingerprint, 0})
		}
		list[i].servers++
	}
	slices.SortStableFunc(list, func(a, b claim) int { return b.servers - a.servers })
	return list
}

// labelled returns the label and the fingerprint of a holder or a waiter, for people. A
// label comes from another process, and must not control the terminal.
func labelled(owner, fingerprint string) string {
	if owner == "" {
		return "#" + fingerprint
	}
	return text.Name(owner) + " #" + fingerprint
}

// notALock returns why name cannot be the name of a lock, or "".
func notALock(prefix, name string) string { return notAKey(prefix, name, proto.Conflict) }

// notInUse returns why name cannot be the name of a lock that somebody holds, or "". It may
// be the key of a permit.
func notInUse(prefix, name string) string { return notAKey(prefix, name, proto.SlotConflict) }

func notAKey(prefix, name string, conflict func(string) string) string {
	switch {
	case name == "":
		return "the name of the lock is empty"
	case isServer(name):
		return "the name of the lock is the URL of a server, which belongs into --node or REDLOCK_NODES"
	}
	if why := conflict(prefix + name); why != "" {
		return "the lock " + argument(name) + " cannot exist: " + why
	}
	return ""
}
