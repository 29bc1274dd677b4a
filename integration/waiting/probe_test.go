package waiting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/integration/internal/stall"
)

// A probe reads the lock on every server all the time, with plain commands that no fault affects.
// If one of them takes long, the machine or the server stood still.
type probe struct {
	watch *stall.Watch

	mu     sync.Mutex
	views  []view // one for each change
	queues []head // one for each reservation
	slow   []span // reads that took long
}

// span is the time from one moment to another.
type span struct{ from, to time.Time }

// usual is the longest normal time of a read.
const usual = 5 * time.Millisecond

// A view is what the lock held on each server from some time on.
type view struct {
	at    time.Time
	nodes []owner
}

// A head is the first waiters in the queue of one server, soon after a reservation there.
type head struct {
	at     time.Time
	labels []string
}

// An owner is the client that has the lock on one server, by its token or by a reservation.
type owner struct {
	label  string // empty: the lock is free there
	called bool
	grace  time.Duration // how long it is reserved
}

func (o owner) String() string {
	switch {
	case o.label == "":
		return "free"
	case o.called:
		return fmt.Sprintf("reserved for %s, up to %v", o.label, o.grace)
	}
	return "held by " + o.label
}

// ownerOf reads who has the lock from its value.
func ownerOf(value string) owner {
	if ticket, ok := strings.CutPrefix(value, "~"); ok {
		ms, inbox, _ := strings.Cut(ticket, ":")
		grace, _ := strconv.Atoi(ms)
		label, _, _ := strings.Cut(strings.TrimPrefix(inbox, "redlock:inbox:"), ":")
		return owner{label, true, time.Duration(grace) * time.Millisecond}
	}
	label, _, _ := strings.Cut(value, ":")
	return owner{label: label}
}

// newProbe starts a probe that runs until the test ends.
func newProbe(t testing.TB, addrs []string) *probe {
	p := &probe{watch: stall.Begin(), views: []view{{time.Now(), make([]owner, len(addrs))}}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			c := goredisdriver.NewClient(&goredisdriver.Options{Addr: addr})
			defer c.Close()
			for ctx.Err() == nil {
				start := time.Now()
				value, err := c.Get(ctx, key).Result()
				if err == nil || errors.Is(err, goredisdriver.Nil) {
					o := ownerOf(value)
					if p.sees(i, o, start) && o.called {
						p.seesQueue(c.ZRange(ctx, queueOf(key), 0, 3).Val())
					}
				}
				time.Sleep(2 * time.Millisecond) // the pause between two reads
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait(); p.watch.End() })
	return p
}

// sees records the reply to a read that began at start. It reports whether the owner changed.
func (p *probe) sees(i int, o owner, start time.Time) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(start) > usual {
		p.slow = append(p.slow, span{start, now})
	}
	last := p.views[len(p.views)-1]
	if last.nodes[i] == o {
		return false
	}
	nodes := slices.Clone(last.nodes)
	nodes[i] = o
	p.views = append(p.views, view{time.Now(), nodes})
	return true
}

// seesQueue records the first tickets of a queue.
func (p *probe) seesQueue(tickets []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := head{at: time.Now()}
	for _, ticket := range tickets {
		h.labels = append(h.labels, ownerOf("~"+ticket).label)
	}
	p.queues = append(p.queues, h)
}

// heads returns the heads of queues that the probe saw between two moments.
func (p *probe) heads(from, to time.Time) []head {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []head
	for _, h := range p.queues {
		if h.at.After(from) && h.at.Before(to) {
			list = append(list, h)
		}
	}
	return list
}

// stalled returns for how long the machine or a server stood still between two moments.
func (p *probe) stalled(from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The duration of a slow read counts unless the machine is known to have stood still then.
	// Simultaneous reads of several servers count once.
	looks := slices.SortedFunc(slices.Values(p.slow), func(a, b span) int { return a.from.Compare(b.from) })
	sum, at := time.Duration(0), from
	for _, s := range looks {
		if s.from.Before(at) {
			s.from = at
		}
		if s.to.After(to) {
			s.to = to
		}
		if s.to.After(s.from) {
			sum += p.watch.Within(at, s.from) + s.to.Sub(s.from)
			at = s.to
		}
	}
	return sum + p.watch.Within(at, to)
}

// A phase is a time in which the lock did not change on any server.
type phase struct {
	from, to time.Time
	owner    owner   // on so many servers that no other client could win
	split    []owner // if there is no owner, the owners by server
}

func (p phase) length() time.Duration { return p.to.Sub(p.from) }

// phases returns what the probe saw between two moments.
func (p *probe) phases(from, to time.Time) []phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.views, from, func(v view, at time.Time) int { return v.at.Compare(at) })
	i = max(0, i-1)
	var out []phase
	for ; i < len(p.views) && p.views[i].at.Before(to); i++ {
		ph := phase{from: p.views[i].at, to: to}
		if ph.from.Before(from) {
			ph.from = from
		}
		if i+1 < len(p.views) && p.views[i+1].at.Before(to) {
			ph.to = p.views[i+1].at
		}
		ph.owner, ph.split = decisive(p.views[i].nodes)
		if n := len(out); n > 0 && out[n-1].owner == ph.owner && slices.Equal(out[n-1].split, ph.split) {
			out[n-1].to = ph.to
		} else {
			out = append(out, ph)
		}
	}
	return out
}

// decisive returns the owner with so many nodes that no other client can win. It is a free one if
// the lock is free on a quorum. If the vote is split, decisive returns all owners.
func decisive(nodes []owner) (o owner, split []owner) {
	count := map[owner]int{}
	for _, o := range nodes {
		count[o]++
	}
	need := quorumOf(nodes)
	for o, n := range count {
		if o.label != "" && n > len(nodes)-need {
			return o, nil
		}
	}
	if count[owner{}] >= need {
		return owner{}, nil
	}
	return owner{}, nodes
}

// quorumOf returns the quorum of these servers.
func quorumOf(nodes []owner) int { return len(nodes)/2 + 1 }
