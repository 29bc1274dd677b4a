package quorum

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// How long a contest that was lost waits for calls that may be under way: some
// round trips, for a release reaches the nodes at different times, and not so long
// that others miss what it was granted.
const (
	lingerTrips = 4
	minLinger   = 2 * time.Millisecond
	maxLinger   = minGrace / 2

	// maxAsks is how often a contest asks one node. A node that has granted is not asked
	// again, and one that has notified falsely so often is not to be believed.
	maxAsks = 4
)

// A contest is an attempt of a Waiter under way, on several nodes.
//
// A node that refused and then calls is asked again, for the same token. So a
// waiter can go by the first call: where the release has not arrived yet it asks once
// more when it has, and keeps meanwhile what it was granted elsewhere. It does so as
// long as one owner stands on so many nodes that nobody else can win, which is most
// likely the one that is releasing.
type contest struct {
	w    *Waiter
	a    *Attempt
	r    *round
	req  request
	last time.Time // when a node was last asked
	asks []int     // how often each node was asked
}

func newContest(w *Waiter, a *Attempt, req request) *contest {
	r := a.newRound(acquiring)
	req.round = r
	return &contest{w: w, a: a, r: r, req: req, asks: make([]int, len(a.seats))}
}

// run has the contest out, and returns what came of it. If rumours is not nil, the nodes
// in it have notified and are asked first; if none of them grants, that was all.
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
	for i := range c.a.seats {
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
			for i := range c.a.seats {
				if !rumours[i] {
					c.ask(i)
				}
			}
			rumours = nil
		}
		patience := c.req.timeout
		if c.answered() {
			granted := c.granted()
			if granted == 0 || !c.owned() {
				break
			}
			patience = min(max(lingerTrips*trip, minLinger), maxLinger)
			if granted > len(c.r.votes)-c.r.need { // the other may wait as we do, and one must let go first
				patience = rand.N(max(lingerTrips*trip, minLinger))
			}
		}
		left := min(time.Until(c.last.Add(patience)), c.req.timeout+maxLinger-time.Since(c.r.start))
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

// vain ends a contest in which no node that had notified has granted. What they answer
// from now on does not count.
func (c *contest) vain() (Result, bool) {
	c.r.decide(Lost, time.Now())
	return c.r.result(nil), true
}

// askCallers asks the nodes again that refused and have called since.
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
	c.a.seats[i].ask(c.req, c.last)
}

// answered reports whether every node has.
func (c *contest) answered() bool {
	return !slices.ContainsFunc(c.r.votes, func(v Vote) bool { return v.Outcome == Pending })
}

// granted returns how many nodes have granted.
func (c *contest) granted() int {
	n := 0
	for _, v := range c.r.votes {
		if v.Outcome == Granted {
			n++
		}
	}
	return n
}

// owned reports whether one other owner stands on so many nodes that nobody else
// can win.
func (c *contest) owned() bool { return c.a.majority(c.r.votes) > len(c.r.votes)-c.r.need }

// majority returns on how many nodes of those that refused one owner stands, the
// one that stands on most.
func (a *Attempt) majority(votes []Vote) int {
	most, owners := 0, make(map[string]int, len(votes))
	for i, v := range votes {
		if owner := a.seats[i].refusal.Owner; v.Outcome == Taken && owner != "" {
			owners[owner]++
			most = max(most, owners[owner])
		}
	}
	return most
}
