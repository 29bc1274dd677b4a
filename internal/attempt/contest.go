package attempt

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// How long a waiter that has lost keeps its grants and waits for notifications that may
// be under way: a few round trips, because a release reaches the nodes at different
// times, but not so long that others miss what this waiter was granted.
const (
	lingerTrips = 4
	minLinger   = 2 * time.Millisecond
	maxLinger   = proto.MinGrace / 2

	// maxAsks is how often an attempt round asks one node. A node that has granted is not
	// asked again. A node that has notified falsely this often is not believed.
	maxAsks = 4
)

// Notices are the notifications that the caller of [Attempt.Compete] gets.
type Notices interface {
	// Clear forgets that node i has notified, because it is about to be asked.
	Clear(i int)

	// Notified returns which nodes have notified since they were cleared.
	Notified() []bool

	// Wake returns a channel that has a value after a notification.
	Wake() <-chan struct{}
}

// Compete asks the nodes to grant the token, as [Attempt.Acquire] does, but it waits for
// all answers, because refusals say how long to wait. It does not agree on a fencing token,
// and releases nothing: see [Attempt.Agree] and [Attempt.TakeBack].
//
// If rumours is not nil and there are several nodes, it asks only those nodes at first,
// which have notified, and asks the others when one of them has granted. If none of them
// grants, vain is set.
func (a *Attempt) Compete(ctx context.Context, n Notices, rumours []bool, ttl, timeout time.Duration) (res round.Result, vain bool) {
	req := request{kind: round.Acquiring, ttl: ttl, timeout: timeout}
	if len(a.states) == 1 {
		n.Clear(0)
		return a.round(ctx, req), false
	}
	return newContest(n, a, req).run(ctx, rumours)
}

// A contest is an attempt round: one attempt of a waiter on several nodes.
//
// A node that refuses and then notifies is asked again for the same token. So a waiter
// can act on the first notification. Where the release has not arrived yet, it asks again
// after the release, and meanwhile keeps what other nodes granted. It does so only while
// one owner has so many nodes that nobody else can win, because that owner is most likely
// releasing. docs/waiting.md has the details.
type contest struct {
	n    Notices
	a    *Attempt
	r    *round.Round
	req  request
	last time.Time // when a node was last asked
	asks []int     // how often, by node
	bell round.Bell
}

func newContest(n Notices, a *Attempt, req request) *contest {
	r := a.newRound(round.Acquiring, time.Now())
	req.round = r
	return &contest{n: n, a: a, r: r, req: req, asks: make([]int, len(a.states)), bell: round.NewBell(1)}
}

// run runs the attempt round to its end. If rumours is not nil, it asks only those nodes
// at first, which have notified, and asks the others when one of them has granted. If
// none of them grants, run returns with vain set.
func (c *contest) run(ctx context.Context, rumours []bool) (res round.Result, vain bool) {
	trip := c.a.nodes.Near()
	defer c.bell.Stop()
	c.a.mu.Lock()
	defer func() {
		c.r.Bell, c.r.Every = nil, false
		c.a.mu.Unlock()
	}()
	c.r.Bell, c.r.Every = &c.bell, true
	for i := range c.a.states {
		if rumours == nil || rumours[i] {
			c.ask(i)
		} else {
			c.r.Votes[i] = round.Vote{Outcome: round.Skipped}
		}
	}
	for c.r.Verdict != round.Won {
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
			if granted > len(c.r.Votes)-c.r.Need {
				wait = rand.N(max(lingerTrips*trip, minLinger))
			}
		}
		left := min(time.Until(c.last.Add(wait)), c.req.timeout+maxLinger-time.Since(c.r.Start))
		if left <= 0 {
			break
		}
		c.bell.Set(left)
		c.a.mu.Unlock()
		c.bell.Wait(ctx, c.n.Wake())
		c.a.mu.Lock()
		if err := ending.Err(ctx); err != nil && c.r.Verdict != round.Won {
			c.r.Cut()
			return c.r.Result(err), false
		}
		c.askCallers()
	}
	if rumours != nil {
		return c.vain()
	}
	c.r.Expire(c.a.late(c.req.timeout))
	return c.r.Result(nil), false
}

// vain ends a round in which no node that had notified has granted. Later answers do not
// count.
func (c *contest) vain() (round.Result, bool) {
	c.r.Decide(round.Lost, time.Now())
	return c.r.Result(nil), true
}

// askCallers asks nodes again that refused and have notified since.
func (c *contest) askCallers() {
	for i, called := range c.n.Notified() {
		if called && c.r.Votes[i].Outcome == round.Taken && c.r.Verdict != round.Won && c.asks[i] < maxAsks {
			c.ask(i)
		}
	}
}

func (c *contest) ask(i int) {
	c.n.Clear(i)
	c.asks[i]++
	c.last = time.Now()
	c.r.Votes[i] = round.Vote{}
	c.a.states[i].ask(c.req, c.last)
}

// answered reports whether every node has answered.
func (c *contest) answered() bool {
	return !slices.ContainsFunc(c.r.Votes, func(v round.Vote) bool { return v.Outcome == round.Pending })
}

func (c *contest) granted() int {
	n := 0
	for _, v := range c.r.Votes {
		if v.Outcome == round.Granted {
			n++
		}
	}
	return n
}

// owned reports whether one other owner has so many nodes that nobody else can win.
func (c *contest) owned() bool { return c.a.majority(c.r.Votes) > len(c.r.Votes)-c.r.Need }

// majority returns the largest number of nodes on which the same owner holds the key,
// among the nodes that refused.
func (a *Attempt) majority(votes []round.Vote) int {
	most, owners := 0, make(map[string]int, len(votes))
	for i, v := range votes {
		if owner := a.states[i].refused().Owner; v.Outcome == round.Taken && owner != "" {
			owners[owner]++
			most = max(most, owners[owner])
		}
	}
	return most
}
