package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// A schedule is a few processes that contend for a few keys over nodes and a
// network that misbehave at random, in virtual time, with a seed that says how.
// What must hold whatever happens is checked on the way and in the end:
//
//   - two never hold a key at the same time;
//   - while a lock is valid, a quorum of nodes holds its token, up to the last
//     nanosecond, and neither an extension nor a release is told that it is gone;
//   - a key is deleted by the release of its own token alone;
//   - what Release calls released is gone from a quorum;
//   - once the faults are over and Wait has returned, nothing is left of a
//     token that was released, and nothing at all a TTL later;
//   - then every key is free for the first who tries, also with a minority dead;
//   - no call, goroutine, cleanup or queue is left.
//
// The first two and the last of what Release says do not hold where nodes lose
// what they had stored; some schedules do that too.
type schedule struct {
	bug  bug
	make nodeMake
	need int
	loss bool // nodes lose what they had
	dups bool // messages arrive twice

	ttl, timeout time.Duration

	nodes  []*simNode
	groups []*Nodes

	mu       sync.Mutex
	over     bool // the faults are
	problems []string
	holds    map[string][]*hold // by key
	won      map[string]*hold   // by token
	stats    stats
}

// stats counts what happened, so that schedules in which nothing happens are
// noticed.
type stats struct {
	tries, won, lost, unavailable, cancelled    int
	extended, notExtended, extensionsGone       int
	released, releasesGone, releasesUnavailable int
	crashed, faults, restarts, resent, looks    int
	rejoined                                    int
}

func (s *stats) add(o stats) {
	s.tries += o.tries
	s.won += o.won
	s.lost += o.lost
	s.unavailable += o.unavailable
	s.cancelled += o.cancelled
	s.extended += o.extended
	s.notExtended += o.notExtended
	s.extensionsGone += o.extensionsGone
	s.released += o.released
	s.releasesGone += o.releasesGone
	s.releasesUnavailable += o.releasesUnavailable
	s.crashed += o.crashed
	s.faults += o.faults
	s.restarts += o.restarts
	s.resent += o.resent
	s.looks += o.looks
	s.rejoined += o.rejoined
}

// A hold is a lock that somebody was told to have.
type hold struct {
	key, token string
	until      time.Time
	released   bool // or its release has begun
	crashed    bool // it never will be
}

func (h *hold) valid(now time.Time) bool { return !h.released && now.Before(h.until) }

// bug is a mistake that a schedule makes on purpose, to show that it would be
// noticed.
type bug string

const (
	noBug           bug = ""
	smallQuorum     bug = "a quorum of one less"
	deleteAny       bug = "a deletion that does not compare"
	overwrite       bug = "a set that does not look whether the key is free"
	recreate        bug = "an extension that brings a key back"
	oneToken        bug = "the same token at every try"
	lateValidity    bug = "validity from when the answers have come"
	eagerValidity   bug = "validity of an extension that has failed"
	noCleanup       bug = "no cleanup of what was not won"
	believeEmpty    bug = "a deletion that found nothing taken for one that deleted"
	errorIsNothing  bug = "an unknown outcome taken for none"
	deleteOvertakes bug = "a release that does not wait for the set"
	rejoinReleased  bug = "a rejoin after the release"
)

func (s *schedule) problem(format string, args ...any) {
	if len(s.problems) < 5 {
		s.problems = append(s.problems, time.Now().Format("05.000000000 ")+fmt.Sprintf(format, args...))
	}
}

// simulate runs the schedule of a seed, with a bug.
func simulate(t *testing.T, seed uint64, b bug) *schedule {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			panic(fmt.Sprintf("schedule %d: %v", seed, r))
		}
	}()
	s := &schedule{bug: b, holds: map[string][]*hold{}, won: map[string]*hold{}}
	synctest.Test(t, func(t *testing.T) { s.run(rand.New(rand.NewPCG(seed, 0))) })
	return s
}

func (s *schedule) String() string {
	return fmt.Sprintf("%d %s nodes, a TTL of %v, a timeout of %v, data lost: %v, messages doubled: %v",
		len(s.nodes), s.make, s.ttl, s.timeout, s.loss, s.dups)
}

func (s *schedule) run(rng *rand.Rand) {
	n := []int{1, 2, 3, 3, 5}[rng.IntN(5)]
	s.make = makes[rng.IntN(len(makes))]
	s.loss, s.dups = rng.IntN(5) == 0, rng.IntN(4) == 0
	s.ttl = []time.Duration{400 * time.Millisecond, time.Second, 5 * time.Second}[rng.IntN(3)]
	s.timeout = 20*time.Millisecond + draw(rng, s.ttl/8)
	faulty := rng.IntN(30) // percent

	for i := range n {
		s.nodes = append(s.nodes, newSimNode(s, i, rng.Uint64(), faulty))
	}
	const processes, clients, keys = 2, 2, 2
	for range processes {
		var nodes []backend.Node
		for _, node := range s.nodes {
			nodes = append(nodes, dress(node.fault, s.make))
		}
		g, err := NewNodes(nodes, Config{}, nil)
		if err != nil {
			panic(err)
		}
		s.need = g.Need()
		if s.bug == smallQuorum {
			g.Config.Need--
		}
		s.groups = append(s.groups, g)
	}
	var everybody sync.WaitGroup
	for _, g := range s.groups {
		for range clients {
			c := &client{s: s, g: g, rng: rand.New(rand.NewPCG(rng.Uint64(), 1)), keys: keys, name: rng.Uint64()}
			everybody.Go(c.work)
		}
	}
	nemesis := rand.New(rand.NewPCG(rng.Uint64(), 2))
	everybody.Go(func() { s.outages(nemesis) })
	everybody.Wait()
	s.end(rng, keys)
}

// outages takes nodes away and brings them back, most of the time one at a time.
func (s *schedule) outages(rng *rand.Rand) {
	for range rng.IntN(4) {
		time.Sleep(draw(rng, s.ttl))
		n := s.nodes[rng.IntN(len(s.nodes))]
		n.set([]state{hanging, down, denying}[rng.IntN(3)])
		time.Sleep(draw(rng, 2*s.ttl))
		if s.loss {
			n.mem.Flush()
		}
		n.set(up)
		s.mu.Lock()
		s.stats.restarts++
		s.mu.Unlock()
	}
}

// A client locks, extends and unlocks at random.
type client struct {
	s     *schedule
	g     *Nodes
	rng   *rand.Rand
	keys  int
	name  uint64
	tries int
}

// ctx returns a context that may be cancelled at any point of a round.
func (c *client) ctx() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	switch c.rng.IntN(8) {
	case 0:
		time.AfterFunc(draw(c.rng, 2*c.s.timeout), cancel)
	case 1:
		ctx, cancel = context.WithTimeout(ctx, draw(c.rng, 2*c.s.timeout))
	case 2:
		time.AfterFunc(draw(c.rng, 5*time.Millisecond), cancel)
	}
	return ctx, cancel
}

func (c *client) work() {
	for range 4 + c.rng.IntN(5) {
		time.Sleep(draw(c.rng, c.s.ttl/4))
		c.try()
	}
}

func (c *client) try() {
	s := c.s
	c.tries++
	key := fmt.Sprint("k", c.rng.IntN(c.keys))
	token := fmt.Sprintf("%x-%d", c.name, c.tries)
	if s.bug == oneToken {
		token = fmt.Sprintf("%x", c.name)
	}
	ctx, cancel := c.ctx()
	defer cancel()
	start := time.Now()
	a, res := c.g.acquire(ctx, nil, key, token, s.ttl, s.timeout)
	h := s.acquired(key, token, start, res)
	if h == nil {
		if res.Verdict == round.Won {
			a.Abandon()
		}
		return
	}
	for range c.rng.IntN(4) {
		time.Sleep(draw(c.rng, s.ttl/2))
		c.extend(a, h)
	}
	time.Sleep(draw(c.rng, s.ttl/2))
	c.release(a, h)
}

// acquired takes note of how a try ended, and returns the hold if it is one.
func (s *schedule) acquired(key, token string, start time.Time, res round.Result) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.tries++
	now := time.Now()
	until := start.Add(s.ttl)
	if s.bug == lateValidity {
		until = now.Add(s.ttl)
	}
	switch {
	case res.CtxErr != nil:
		s.stats.cancelled++
		return nil
	case res.Verdict == round.Lost:
		s.stats.lost++
		return nil
	case res.Verdict == round.Unavailable:
		s.stats.unavailable++
		return nil
	case !now.Before(until):
		return nil
	}
	s.stats.won++
	h := &hold{key: key, token: token, until: until}
	for _, other := range s.holds[key] {
		if other.valid(now) && !s.loss {
			s.problem("%s is granted to %s while %s holds it until %v later", key, token, other.token, other.until.Sub(now))
		}
	}
	s.holds[key] = append(s.holds[key], h)
	s.won[token] = h
	s.look(h)
	s.lookAtTheEnd(h)
	return h
}

// look checks that a quorum of nodes holds what is said to be held.
func (s *schedule) look(h *hold) {
	if s.loss || !h.valid(time.Now()) {
		return
	}
	s.stats.looks++
	n := 0
	for _, node := range s.nodes {
		if e, _ := node.mem.Inspect(context.Background(), h.key); e.Found && e.Value == h.token {
			n++
		}
	}
	if n < s.need {
		s.problem("%s is valid for %s for %v more, but %d of %d nodes hold it", h.key, h.token, time.Until(h.until), n, len(s.nodes))
	}
}

// lookAtTheEnd looks when the validity is about to end.
func (s *schedule) lookAtTheEnd(h *hold) {
	time.AfterFunc(time.Until(h.until)-1, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.look(h)
	})
}

func (c *client) extend(a *Attempt, h *hold) {
	s := c.s
	ttl := (s.ttl/2 + draw(c.rng, s.ttl)).Truncate(time.Millisecond)
	ctx, cancel := c.ctx()
	defer cancel()
	start := time.Now()
	var res round.Result
	if c.rng.IntN(2) == 0 {
		res = a.Extend(ctx, ttl, s.timeout)
	} else {
		ExtendAll([]Renewal{{a, ttl, s.timeout}}, func(_ int, r round.Result) { res = r })
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range res.Votes {
		if v.Rejoined {
			s.stats.rejoined++
		}
	}
	valid := h.valid(time.Now())
	switch res.Verdict {
	case round.Won:
		s.stats.extended++
	case round.Gone:
		s.stats.extensionsGone++
		if valid && !s.loss {
			s.problem("an extension of %s says that it is gone %v before the end of its validity: %v", h.token, time.Until(h.until), res)
		}
	default:
		s.stats.notExtended++
	}
	if !valid { // it came too late, and is lost
		return
	}
	if until := start.Add(ttl); (res.Verdict == round.Won || s.bug == eagerValidity) && until.After(h.until) {
		h.until = until
		s.lookAtTheEnd(h)
	}
	s.look(h)
}

func (c *client) release(a *Attempt, h *hold) {
	s := c.s
	s.mu.Lock()
	valid := h.valid(time.Now())
	if c.rng.IntN(10) == 0 {
		h.crashed = true
		s.stats.crashed++
		s.mu.Unlock()
		return
	}
	s.look(h)
	h.released = true
	s.mu.Unlock()

	if s.bug == deleteOvertakes {
		a = c.g.Adopt(h.key, h.token, s.ttl)
	}
	abandoned := c.rng.IntN(10) == 0 // which has deleted it before
	if abandoned {
		a.Abandon()
	}
	ctx, cancel := c.ctx()
	defer cancel()
	res := a.Release(ctx, s.timeout)
	if s.bug == rejoinReleased {
		s.nodes[0].SetNX(context.Background(), h.key, h.token, s.ttl)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch res.Verdict {
	case round.Won:
		s.stats.released++
		left := 0
		for _, n := range s.nodes {
			if e, _ := n.mem.Inspect(context.Background(), h.key); e.Found && e.Value == h.token && n.sets[h.token] < 2 {
				left++
			}
		}
		if left > len(s.nodes)-s.need && !s.loss {
			s.problem("%s is called released, but %d of %d nodes hold it: %v", h.token, left, len(s.nodes), res)
		}
	case round.Gone:
		s.stats.releasesGone++
		if valid && time.Now().Before(h.until) && !abandoned && !s.loss {
			s.problem("the release of %s says that it is gone: %v", h.token, res)
		}
	default:
		s.stats.releasesUnavailable++
	}
}

// end heals everything, waits, and looks at what is left.
func (s *schedule) end(rng *rand.Rand, keys int) {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	for _, n := range s.nodes {
		n.set(up)
	}
	for _, g := range s.groups {
		ctx, cancel := context.WithTimeout(context.Background(), 2*s.ttl+4*sender.CallTimeout)
		if err := g.Wait(ctx); err != nil {
			s.problem("%d cleanups do not end: %v", g.Cleanups(), err)
		}
		cancel()
	}
	s.leftovers(true)
	time.Sleep(2*s.ttl + 2*sender.CallTimeout) // an extension is for at most 1.5 TTLs
	s.leftovers(false)

	for i, g := range s.groups {
		for k := range keys {
			s.mustHold(g, fmt.Sprint("k", k), fmt.Sprint("end", i, k))
		}
	}
	for _, i := range rng.Perm(len(s.nodes))[:len(s.nodes)-s.need] {
		s.nodes[i].set([]state{hanging, down}[rng.IntN(2)])
	}
	for i, g := range s.groups {
		s.mustHold(g, "k0", fmt.Sprint("minority", i))
	}
	for _, n := range s.nodes {
		n.set(up)
	}
	for _, g := range s.groups {
		g.Wait(context.Background())
	}
	time.Sleep(2 * sender.CallTimeout)
	synctest.Wait()
	for _, g := range s.groups {
		if p := atRest(g); p != "" {
			s.problem("%s", p)
		}
	}
}

// leftovers looks for keys of tokens that were released.
func (s *schedule) leftovers(justReleased bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		for _, key := range n.mem.Keys() {
			e, _ := n.mem.Inspect(context.Background(), key)
			h := s.won[e.Value]
			// Where the network delays and doubles, a second set, or an extension that comes a
			// second time after the release, is not waited for: it leaves a key for its TTL.
			late := n.faulty > 0 && (n.sets[e.Value] > 1 || n.doubled[e.Value])
			if justReleased && (h != nil && h.crashed || late) {
				continue
			}
			s.problem("%s of %s is left on node %d for %v", key, e.Value, n.index, e.TTL)
		}
	}
}

// mustHold locks and unlocks what nobody else wants, at the first try and without
// waiting for whoever does not answer.
func (s *schedule) mustHold(g *Nodes, key, token string) {
	a, res := g.acquire(context.Background(), nil, key, token, s.ttl, s.timeout)
	if res.Verdict != round.Won || res.Elapsed > 2*travel {
		s.problem("in the end %s is not to be had: %v", key, res)
	}
	res = a.Release(context.Background(), s.timeout)
	if res.Verdict != round.Won || res.Elapsed > 4*travel { // it may wait for the set
		s.problem("in the end the release of %s: %v", key, res)
	}
	synctest.Wait()
	time.Sleep(4 * travel) // for those who were not waited for
}

// travel is how long a message takes at most on a good day.
const travel = 5 * time.Millisecond

// state is what is wrong with a node.
type state uint8

const (
	up      state = iota
	hanging       // it takes what is sent, and neither does nor answers anything
	down          // connections to it are refused
	denying       // it answers that it will not now
)

// A simNode is a node behind a bad network.
type simNode struct {
	*memory.Node
	mem    *memory.Node
	s      *schedule
	index  int
	fault  *faulty.FaultNode
	faulty int // how many percent of the calls go wrong

	mu    sync.Mutex
	rng   *rand.Rand
	state state

	sets    map[string]int  // how often a set of a token arrived; guarded by s.mu
	doubled map[string]bool // tokens of which the network doubled an operation; the same
}

func newSimNode(s *schedule, i int, seed uint64, percent int) *simNode {
	mem := memory.New(memory.WithName(fmt.Sprint("n", i)))
	n := &simNode{
		Node: mem, mem: mem, s: s, index: i, faulty: percent,
		rng: rand.New(rand.NewPCG(seed, 3)), sets: map[string]int{}, doubled: map[string]bool{},
	}
	n.fault = faulty.NewFaultNode(n)
	n.fault.Set(n.network)
	return n
}

func (n *simNode) set(to state) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = to
}

// network is the way to the node and back.
func (n *simNode) network(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	if ops[0].Kind == backend.OpEval {
		n.s.mu.Lock()
		n.s.stats.resent++
		n.s.mu.Unlock()
	}
	n.mu.Lock()
	there, back, long := draw(n.rng, travel), draw(n.rng, travel), draw(n.rng, n.s.ttl*9/10)
	what, st := n.rng.IntN(100), n.state
	kind, one := n.rng.IntN(9), n.rng.IntN(len(ops))
	ignore := n.rng.IntN(3) == 0
	n.mu.Unlock()
	n.s.mu.Lock()
	over, dups := n.s.over, n.s.dups
	n.s.mu.Unlock()

	fault := faulty.Chain(faulty.Delay(there), faulty.DelayReply(back))
	switch st {
	case hanging:
		fault = faulty.Hang()
	case down:
		fault = faulty.Chain(faulty.Delay(there), faulty.Refuse(nil))
	case denying:
		fault = faulty.Chain(faulty.Delay(there), faulty.Refuse(errors.New("LOADING")))
	case up:
		if what >= n.faulty || over {
			break
		}
		n.s.mu.Lock()
		n.s.stats.faults++
		n.s.mu.Unlock()
		switch kind {
		case 0:
			fault = faulty.Chain(faulty.Delay(there), faulty.LoseRequest(nil))
		case 1:
			fault = faulty.Chain(faulty.Delay(there), faulty.LoseReply(io.ErrUnexpectedEOF), faulty.Delay(back))
		case 2: // broken at once, on its way for long
			fault = faulty.Chain(faulty.Delay(there), lateAfterBreak(long))
		case 3: // the call times out, the request arrives long after
			fault = func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
				own := slices.Clone(ops)
				<-ctx.Done()
				time.AfterFunc(long, func() { next(context.WithoutCancel(ctx), own) })
				return faulty.Hang()(ctx, ops, next)
			}
		case 4: // slow, in either direction
			fault = faulty.Chain(faulty.Late(long), faulty.DelayReply(back))
		case 5:
			fault = faulty.Chain(faulty.Delay(there), faulty.DelayReply(long))
		case 6: // one of them fails alone
			hit := -1
			fault = faulty.Chain(fault, faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
				if hit++; hit == one {
					return backend.Result{Err: backend.MarkReply(errors.New("OOM command not allowed"))}
				}
				return next(ctx)
			}))
		case 7: // the reply times out
			fault = faulty.Chain(faulty.Delay(there), faulty.DelayReply(time.Hour))
		case 8:
			if dups {
				n.s.mu.Lock()
				for _, op := range ops {
					n.doubled[op.Token] = true
				}
				n.s.mu.Unlock()
				fault = faulty.Chain(faulty.Delay(there), faulty.DelayReply(back), faulty.Duplicate(long))
			}
		}
	}
	if ignore {
		fault = faulty.Chain(faulty.IgnoreCancel(), fault)
	}
	results := fault(ctx, ops, next)
	if n.s.bug == errorIsNothing {
		for i := range results {
			results[i].Err = backend.MarkNotExecuted(results[i].Err)
		}
	}
	return results
}

// The node itself: memory's, with an eye on what is done to it.

func (n *simNode) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.s.bug == overwrite {
		n.mem.Set(key, token, ttl)
	}
	ok, err := n.mem.SetNX(ctx, key, token, ttl)
	n.sets[token]++
	return ok || n.s.bug == overwrite, err
}

func (n *simNode) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	before, _ := n.mem.Inspect(context.Background(), key)
	target := token
	switch {
	case n.s.bug == deleteAny:
		target = before.Value
	case n.s.bug == noCleanup && n.s.won[token] == nil && token[0] != 'e' && token[0] != 'm':
		return true, nil
	}
	ok, err := n.mem.EvalDelete(ctx, key, target)
	after, _ := n.mem.Inspect(context.Background(), key)
	if before.Found && !after.Found {
		if before.Value != token {
			n.s.problem("the release of %s deleted %s's key", token, before.Value)
		}
		if h := n.s.won[before.Value]; h != nil && h.valid(time.Now()) {
			n.s.problem("the key of %s was deleted on node %d, %v before the end of its validity", before.Value, n.index, time.Until(h.until))
		}
	}
	return ok || n.s.bug == believeEmpty && err == nil, err
}

func (n *simNode) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.s.bug == recreate {
		n.mem.SetNX(ctx, key, token, ttl)
	}
	return n.mem.Extend(ctx, key, token, ttl)
}

func (n *simNode) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	r, err := n.mem.Eval(ctx, script, keys, args)
	n.sets[args[0]]++
	return r, err
}

func (n *simNode) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i, op := range ops {
		results[i] = op.Do(ctx, n)
	}
	return results
}

func TestSchedules(t *testing.T) {
	n := *schedules
	switch {
	case testing.Short():
		n = min(n, 200)
	case !long.Wanted():
		n = min(n, 500)
	}
	var total stats
	eachSchedule(t, n, func(t *testing.T, seed uint64) testnodes.Over {
		s := simulate(t, seed, noBug)
		return testnodes.Over{Problems: s.problems, What: s, Note: func() { total.add(s.stats) }}
	})
	t.Logf("%d schedules: %+v", n, total)
	if n < 200 {
		return
	}
	for what, count := range map[string]int{
		"granted": total.won, "lost": total.lost, "unavailable": total.unavailable, "cancelled": total.cancelled,
		"extended": total.extended, "not extended": total.notExtended, "released": total.released,
		"released in doubt": total.releasesUnavailable, "released when gone": total.releasesGone,
		"crashed": total.crashed, "faults": total.faults, "restarts": total.restarts, "sent again": total.resent,
		"rejoined": 4 * total.rejoined, // locks are not held for long here; see TestSieges
	} {
		if count < n/4 {
			t.Errorf("%s: only %d times in %d schedules", what, count, n)
		}
	}
	if total.won < 4*n {
		t.Errorf("%d grants in %d schedules: they show too little", total.won, n)
	}
}

// The schedules notice what they are to notice.
func TestSchedulesNoticeBugs(t *testing.T) {
	for _, b := range []bug{
		smallQuorum, deleteAny, overwrite, recreate, oneToken, lateValidity, eagerValidity,
		noCleanup, believeEmpty, errorIsNothing, deleteOvertakes, rejoinReleased,
	} {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			const most = 500
			for seed := uint64(1); seed <= most; seed++ {
				if s := simulate(t, seed, b); len(s.problems) > 0 {
					t.Logf("schedule %d: %s", seed, s.problems[0])
					return
				}
			}
			t.Errorf("%d schedules have noticed nothing", most)
		})
	}
}
