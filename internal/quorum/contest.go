package quorum

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// How long a waiter that has lost keeps its grants and waits for notifications that may
// be under way: a few round trips, because a release reaches the nodes at different
// times, but not so long that others miss what this waiter was granted.
const (
	lingerTrips = 4
	minLinger   = 2 * time.Millisecond
	maxLinger   = minGrace / 2

	// maxAsks is how often an attempt round asks one node. A node that has granted is not
	// asked again. A node that has notified falsely this often is not believed.
	maxAsks = 4
)

// A contest is an attempt round: one attempt of a Waiter on several nodes.
//
// A node that refuses and then notifies is asked again for the same token. So a waiter
// can act on the first notification. Where the release has not arrived yet, it asks again
// after the release, and meanwhile keeps what other nodes granted. It does so only while
// one owner has so many nodes that nobody else can win, because that owner is most likely
// releasing. docs/waiting.md has the details.
type contest struct {
	w    *Waiter
	a    *Attempt
	r    *round
	req  request
	last time.Time // when a node was last asked
	asks []int     // how often, by node
}

func newContest(w *Waiter, a *Attempt, req request) *contest {
	r := a.newRound(acquiring)
	req.round = r
	return &contest{w: w, a: a, r: r, req: req, asks: make([]int, len(a.states))}
}

// run runs the attempt round to its end. If rumours is not nil, it asks only those nodes
// at first, which have notified, and asks the others when one of them has granted. If
// none of them grants, run returns with vain set.
func (c *contest) run(ctx context.Context, rumours []bool) (res Result, vain bool) {
	trip := c.a.group.near()
	timer := time.NewTimer(c.req.timeout)
	defer timer.Stop()
	c.a.mu.Lock()
	defer func() {
		c.r.news = nil
		c.a.mu.Unlock()
	}()
	c.r.news = make(chan int, 1)
	for i := range c.a.states {
		if rumours == nil || rumours[i] {
			c.ask(i)
		} else {
			c.r.votes[i] = Vote{Outcome: Skipped}
		}
	}
	for c.r.verdict != Won {
		if rumours != nil && (c.granted() > 0 || c.answered()) {
			if c.granted() == 0 {
				return c.vain()
			}
			for i := range c.a.states {
				if !rumours[i] {
					c.ask(i)
				}
			}
			rumours = nil
		}
		wait := c.req.timeout
		if c.answered() {
			granted := c.granted()
			if granted == 0 || !c.owned() {
				break
			}
			wait = min(max(lingerTrips*trip, minLinger), maxLinger)
			// The other may wait in the same way, so each gives up after a random time.
			if granted > len(c.r.votes)-c.r.need {
				wait = rand.N(max(lingerTrips*trip, minLinger))
			}
		}
		left := min(time.Until(c.last.Add(wait)), c.req.timeout+maxLinger-time.Since(c.r.start))
		if left <= 0 {
			break
		}
		timer.Reset(left)
		c.a.mu.Unlock()
		select {
		case <-c.r.news:
		case <-c.w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		c.a.mu.Lock()
		if err := ended(ctx); err != nil && c.r.verdict != Won {
			c.r.cut()
			return c.r.result(err), false
		}
		c.askCallers()
	}
	if rumours != nil {
		return c.vain()
	}
	c.r.expire(c.a.late(c.req.timeout))
	return c.r.result(nil), false
}

// vain ends a round in which no node that had notified has granted. Later answers do not
// count.
func (c *contest) vain() (Result, bool) {
	c.r.decide(Lost, time.Now())
	return c.r.result(nil), true
}

// askCallers asks nodes again that refused and have notified since.
func (c *contest) askCallers() {
	for i, called := range c.w.callers() {
		if called && c.r.votes[i].Outcome == Taken && c.r.verdict != Won && c.asks[i] < maxAsks {
			c.ask(i)
		}
	}
}

func (c *contest) ask(i int) {
	c.w.heed(i)
	c.asks[i]++
	c.last = time.Now()
	c.r.votes[i] = Vote{}
	c.a.states[i].ask(c.req, c.last)
}

// answered reports whether every node has answered.
func (c *contest) answered() bool {
	return !slices.ContainsFunc(c.r.votes, func(v Vote) bool { return v.Outcome == Pending })
}

func (c *contest) granted() int {
	n := 0
	for _, v := range c.r.votes {
		if v.Outcome == Granted {
			n++
		}
	}
	return n
}

// owned reports whether one other owner has so many nodes that nobody else can win.
func (c *contest) owned() bool { return c.a.majority(c.r.votes) > len(c.r.votes)-c.r.need }

// majority returns the largest number of nodes on which the same owner holds the key,
// among the nodes that refused.
func (a *Attempt) majority(votes []Vote) int {
	most, owners := 0, make(map[string]int, len(votes))
	for i, v := range votes {
		if owner := a.states[i].refusal.Owner; v.Outcome == Taken && owner != "" {
			owners[owner]++
			most = max(most, owners[owner])
		}
	}
	return most
}
