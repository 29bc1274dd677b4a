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

// A probe looks at the lock on every server all the time, with plain commands that
// no fault befalls. Where one takes long, the machine or the server stood still.
type probe struct {
	watch *stall.Watch

	mu    sync.Mutex
	views []view // each time that something had changed
	slow  []span // looks that took long
}

// span is the time from one moment to another.
type span struct{ from, to time.Time }

// usual is how long a look may take.
const usual = 5 * time.Millisecond

// A view is what the lock held on each server from a moment on.
type view struct {
	at    time.Time
	nodes []owner
}

// An owner is who has the lock on one server: by its token, or because it was
// called and the lock is reserved for it.
type owner struct {
	label  string // empty: nobody, the lock is free there
	called bool
	grace  time.Duration // for which it is reserved
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

// newProbe begins to look, until the test ends.
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
					p.sees(i, ownerOf(value), start)
				}
				time.Sleep(2 * time.Millisecond) // the pause between two looks
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait(); p.watch.End() })
	return p
}

// sees notes the answer to a look that began at start.
func (p *probe) sees(i int, o owner, start time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(start) > usual {
		p.slow = append(p.slow, span{start, now})
	}
	last := p.views[len(p.views)-1]
	if last.nodes[i] != o {
		nodes := slices.Clone(last.nodes)
		nodes[i] = o
		p.views = append(p.views, view{time.Now(), nodes})
	}
}

// stalled returns for how long the machine or a server stood still between two
// moments.
func (p *probe) stalled(from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	// What a look took counts as far as the machine has not been seen to stand
	// still; looks at several servers at the same time count once.
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

// A phase is a time in which the lock stood the same way on the servers.
type phase struct {
	from, to time.Time
	owner    owner   // on so many servers that nobody else could win
	split    []owner // there was none, but these, by server
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

// decisive returns the owner on so many nodes that nobody else can win, free if
// the lock is free on a quorum, or all owners if the vote is split.
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

// quorumOf returns on how many of these servers a lock has to be had.
func quorumOf(nodes []owner) int { return len(nodes)/2 + 1 }
