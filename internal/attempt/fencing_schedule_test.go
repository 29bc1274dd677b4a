package attempt_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// A ballot is a few processes that lock a few keys with fencing tokens, in virtual
// time, with a seed that says how. Nothing can be relied on: locks are lost at any
// moment, links lose, delay and double, processes stand still for longer than their
// leases, and the clocks of clients and nodes are set by hours. What is checked:
//
//   - no two locks of a key have the same token;
//   - a lock that was asked for after another was granted has a higher one;
//   - no counter goes back.
//
// In some ballots nodes lose what they have. Their clocks are right then, but those of
// clients are not, and what is left is the second, of locks further apart than the clocks
// of nodes and the slack of hints can account for.
type ballot struct {
	bug  ballotBug
	wipe bool  // nodes lose what they have
	loss *loss // how, in a ballot that is about that; else nil
	long bool  // locks are extended often, and some have a TTL of several times the usual one
	calm bool  // there is no trouble
	trip time.Duration
	ttl  time.Duration

	nodes     []*voter
	keys      []string
	processes []*elector

	over atomic.Bool

	mu       sync.Mutex
	rng      *rand.Rand // of the network
	tokens   int
	raised   map[string]bool // tokens that took a second round
	grants   []grant
	overlaps int
	problems []string
	stats    ballotStats
}

type ballotStats struct {
	grants, oneRound, failed, waited, prolonged, faults, frees, steps, pauses, wipes, rejoins int
}

func (s *ballotStats) add(o ballotStats) {
	s.grants += o.grants
	s.oneRound += o.oneRound
	s.failed += o.failed
	s.waited += o.waited
	s.prolonged += o.prolonged
	s.faults += o.faults
	s.frees += o.frees
	s.steps += o.steps
	s.pauses += o.pauses
	s.wipes += o.wipes
	s.rejoins += o.rejoins
}

// A grant is a lock that was granted: when the try began and ended that won.
type grant struct {
	key         string
	fence       uint64
	called, won time.Time
	ended       time.Time // in a ballot about loss: when the lock was released, or its validity over
}

// ballotBug is a mistake that is made on purpose, to show that it would be noticed.
type ballotBug string

const (
	noBallotBug    ballotBug = ""
	raisesForAll   ballotBug = "a raise that anybody may make, and that is content with more"
	noSecondRound  ballotBug = "the highest vote for the token, without a second round"
	votesTwice     ballotBug = "a vote for what the counter stands at"
	unclampedHints ballotBug = "hints that nodes follow however far, and nodes that lose counters"
	rejoinCounts   ballotBug = "a rejoin that counts in the extension that it follows"
	rejoinLost     ballotBug = "a rejoin after an extension that was not won, of a holder that goes on"
	rejoinHasty    ballotBug = "a rejoin of any node in quarantine"
)

func (s *ballot) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) < 5 {
		s.problems = append(s.problems, time.Now().Format("05.000000 ")+fmt.Sprintf(format, args...))
	}
}

func (s *ballot) count(what *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*what++
}

func (s *ballot) draw(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return testnodes.Draw(s.rng, d)
}

// A voter is a node whose clock can be set, and which makes the mistakes.
type voter struct {
	*memory.Node
	s      *ballot
	offset *testnodes.SafeOffset

	mu     sync.Mutex       // held during each script
	counts map[string]int64 // where the counters stood
	image  image            // in a ballot about loss
}

func (s *ballot) newVoter() {
	v := &voter{s: s, offset: new(testnodes.SafeOffset), counts: map[string]int64{}}
	v.Node = memory.New(memory.WithName(fmt.Sprint("n", len(s.nodes))), memory.WithClock(v.offset.Now))
	if s.loss != nil {
		v.offset.Set(s.draw(2*lossSkew) - lossSkew)
		if _, err := v.Node.Eval(context.Background(), lua.Mark, []string{lossMarker}, nil); err != nil {
			panic(err)
		}
	}
	s.nodes = append(s.nodes, v)
}

// countsByOnes puts the counters ahead of all clocks, where each vote is one more than the
// one before: there the votes of different locks are close to each other.
func (s *ballot) countsByOnes() {
	for _, key := range s.keys {
		name, _ := proto.CounterKey(key)
		for _, v := range s.nodes {
			v.setCounter(name, time.Now().Add(12*time.Hour).UnixMicro())
		}
	}
}

// counter returns where a counter stands.
func (v *voter) counter(name string) int64 {
	e, _ := v.Inspect(context.Background(), name)
	c, _ := strconv.ParseInt(e.Value, 10, 64)
	return c
}

func (v *voter) setCounter(name string, c int64) {
	v.Set(name, strconv.FormatInt(c, 10), backend.NoExpiry)
}

func (v *voter) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i, op := range ops {
		results[i] = op.Do(ctx, v)
	}
	return results
}

func (v *voter) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch script {
	case lua.Raise:
		v.s.mu.Lock()
		v.s.raised[args[0]] = true
		v.s.mu.Unlock()
		switch value, _ := strconv.ParseInt(args[1], 10, 64); v.s.bug {
		case raisesForAll:
			v.setCounter(keys[1], max(value, v.counter(keys[1])))
			return backend.Reply{int64(1)}, nil
		case noSecondRound:
			return backend.Reply{int64(1)}, nil
		}
	case lua.Vote:
		before := v.counter(keys[1])
		r, err := v.Node.Eval(ctx, script, keys, args)
		if err != nil {
			return r, err
		}
		if granted, _ := r.Int(0); granted != 0 && v.counter(keys[1]) != before {
			hint, _ := strconv.ParseInt(args[2], 10, 64)
			switch {
			case v.s.bug == unclampedHints:
				r = v.recast(r, keys[1], max(before+1, hint))
			case v.s.bug == votesTwice && before > 0:
				r = v.recast(r, keys[1], max(before, hint))
			}
		}
		v.look(keys[1])
		return r, nil
	case lua.Prolong:
		v.s.count(&v.s.stats.prolonged)
	}
	r, err := v.Node.Eval(ctx, script, keys, args)
	if script == lua.Raise || script == lua.Prolong {
		v.look(keys[1])
	}
	return r, err
}

func (v *voter) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if v.s.bug == rejoinCounts {
		v.SetNX(ctx, key, token, ttl)
	}
	return v.Node.Extend(ctx, key, token, ttl)
}

// recast returns r with another vote.
func (v *voter) recast(r backend.Reply, counter string, vote int64) backend.Reply {
	v.setCounter(counter, vote)
	return backend.Reply{int64(1), vote, r[len(r)-1]}
}

// look notes where a counter stands, which is no lower than before.
func (v *voter) look(name string) {
	c := v.counter(name)
	if c < v.counts[name] && v.s.bug == noBallotBug {
		v.s.problem("%s fell from %d to %d on %s", name, v.counts[name], c, v.Name())
	}
	v.counts[name] = c
}

// free ends a lock now, as if it had expired.
func (v *voter) free(key string) {
	e, _ := v.Inspect(context.Background(), key)
	v.EvalDelete(context.Background(), key, e.Value)
}

// lose has the node lose all that it has.
func (v *voter) lose() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.counts)
	v.Flush()
}

// An elector is a process: a group, with a clock of its own, and links to the nodes.
type elector struct {
	*quorum.Group
	id, inboxes int
	s           *ballot
	links       []*faulty.FaultNode
	clock       *testnodes.SafeOffset
	until       atomic.Int64 // for how long it stands still, in Unix nanoseconds
}

func (s *ballot) newElector() *elector {
	p := &elector{s: s, clock: new(testnodes.SafeOffset)}
	var nodes []backend.Node
	for _, v := range s.nodes {
		link := faulty.NewFaultNode(v)
		link.Set(p.network)
		p.links, nodes = append(p.links, link), append(nodes, &forgetful{link})
	}
	p.id = len(s.processes)
	g, err := quorum.NewGroup(nodes, quorum.Config{
		Config: attempt.Config{
			Need: s.need(), Clock: &clock.Clock{Wall: p.clock.Now}, Quarantine: s.quarantine(), Marker: lossMarker,
		},
		Inbox: func() string {
			p.inboxes++
			return p.inbox(p.inboxes)
		},
	})
	if err != nil {
		panic(err)
	}
	p.Group = g
	s.processes = append(s.processes, p)
	return p
}

// inbox returns the channel of the process's inbox with that number.
func (p *elector) inbox(n int) string { return fmt.Sprintf("inbox-%d-%d", p.id, n) }

// acquire makes an attempt that does not wait, with a fencing token if f is not nil.
func (p *elector) acquire(ctx context.Context, f *attempt.Fencing, key, token string, ttl, timeout time.Duration) (*attempt.Attempt, round.Result) {
	a := attempt.New(p.Nodes, key, token)
	a.Vote(f, ttl)
	return a, a.Acquire(ctx, ttl, timeout)
}

// waiting returns the request of a call that waits as redlock does by default.
func (p *elector) waiting(key string, ttl, timeout time.Duration, c quorum.Caller) quorum.Request {
	return quorum.Request{
		Key: key, TTL: ttl, Timeout: timeout, Start: p.Config.Clock.Now(), Queue: true, Patience: ttl, Caller: c,
	}
}

// A caller is the Caller of a test.
type caller struct {
	token func() string
	waits func() // nil, or called before each wait
}

func (c caller) Token() string { return c.token() }

func (c caller) Attempted(round.Result) {}

func (c caller) Waits(context.Context, round.Result) {
	if c.waits != nil {
		c.waits()
	}
}

func (c caller) Pause(bool) (time.Duration, bool) { return 50 * time.Millisecond, true }

// linger is how long an inbox stays open after the last wait: see package quorum.
const linger = 5 * time.Second

// timeout is the node timeout where it does not matter.
const timeout = 250 * time.Millisecond

// subscribers returns how many subscriptions to a channel there are on the nodes.
func (s *ballot) subscribers(channel string) (n int64) {
	for _, v := range s.nodes {
		r, err := v.Node.Eval(context.Background(), lua.Echo, []string{"k"}, []string{channel, "x"})
		if err != nil {
			panic(err)
		}
		heard, err := r.Int(0)
		if err != nil {
			panic(err)
		}
		n += heard
	}
	return n
}

// need is the quorum of a ballot, the same for all.
func (s *ballot) need() int {
	n := len(s.nodes)
	if n > 3 && int(s.trip)%2 == 1 {
		return n - 1
	}
	return n/2 + 1
}

// forgetful is a link that keeps no record.
type forgetful struct{ *faulty.FaultNode }

func (f *forgetful) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	defer f.Forget()
	return f.FaultNode.Eval(ctx, script, keys, args)
}

func (f *forgetful) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	defer f.Forget()
	return f.FaultNode.Batch(ctx, ops)
}

// pause waits for as long as the process stands still.
func (p *elector) pause() { time.Sleep(time.Until(time.Unix(0, p.until.Load()))) }

// network is the way of requests and replies.
func (p *elector) network(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	s := p.s
	half := s.trip / 2
	there, back := half+s.draw(half/2+1), half+s.draw(half/2+1)
	fault := faulty.Chain(faulty.Delay(there), faulty.DelayReply(back))
	if s.calm || s.over.Load() || ops[0].Kind == faulty.OpSubscribe {
		return fault(ctx, ops, next)
	}
	p.pause()
	defer p.pause()
	slow := 20 * s.trip
	if s.draw(4) == 0 {
		slow = 2 * s.ttl
	}
	switch what := s.draw(100); {
	case what < 4:
		s.count(&s.stats.faults)
		fault = faulty.Chain(faulty.Delay(there), faulty.LoseRequest(nil))
	case what < 8:
		s.count(&s.stats.faults)
		fault = faulty.Chain(faulty.Delay(there), faulty.LoseReply(io.ErrUnexpectedEOF))
	case what < 11:
		s.count(&s.stats.faults)
		fault = testnodes.LateAfterBreak(s.draw(slow))
	case what < 14:
		s.count(&s.stats.faults)
		fault = faulty.Chain(faulty.Late(s.draw(slow)), faulty.DelayReply(back))
	case what < 17:
		s.count(&s.stats.faults)
		fault = faulty.Chain(faulty.Delay(there), faulty.DelayReply(s.draw(slow)))
	case what < 25:
		s.count(&s.stats.faults)
		fault = faulty.Chain(fault, faulty.Duplicate(s.draw(slow)))
	}
	return fault(ctx, ops, next)
}

// lock locks and unlocks key once, at random.
func (p *elector) lock(rng *rand.Rand) {
	s := p.s
	key := s.keys[rng.IntN(len(s.keys))]
	f, err := p.Fencing(key)
	if err != nil {
		panic(err)
	}
	var (
		called time.Time // when the last try began
		token  string
	)
	newToken := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens++
		called, token = time.Now(), fmt.Sprint("t", s.tokens)
		return token
	}
	ttl, extensions, pause := s.ttl, rng.IntN(3), s.ttl/2
	if s.long {
		ttl, extensions, pause = s.ttl*[]time.Duration{1, 1, longTTL}[rng.IntN(3)], rng.IntN(20), s.ttl/3
	}
	timeout := ttl / 8
	ctx, cancel := context.WithTimeout(context.Background(), 5*ttl)
	defer cancel()
	var (
		a   *attempt.Attempt
		res round.Result
	)
	if rng.IntN(2) == 0 {
		a, res = p.acquire(ctx, f, key, newToken(), ttl, timeout)
	} else {
		r := p.waiting(key, ttl, timeout, caller{newToken, func() { s.count(&s.stats.waited) }})
		r.Fencing = f
		var h quorum.Held
		h, res = p.Lock(ctx, r)
		a = h.Attempt
	}
	if res.Verdict != round.Won {
		if a != nil && a.Fence() != 0 {
			s.problem("%s has not won %s, and has the token %d", token, key, a.Fence())
		}
		s.count(&s.stats.failed)
		return
	}
	until := testnodes.Validity(called, ttl)
	if s.loss != nil && !time.Now().Before(until) { // which redlock.Lock would not return
		a.Abandon()
		return
	}
	fence := a.Fence()
	s.mu.Lock()
	s.stats.grants++
	index := len(s.grants)
	s.grants = append(s.grants, grant{key, fence, called, time.Now(), until})
	if !s.raised[token] {
		s.stats.oneRound++
	}
	s.mu.Unlock()
	if fence == 0 {
		s.problem("%s has won %s without a token", token, key)
	}
	for range extensions {
		time.Sleep(testnodes.Draw(rng, pause))
		extended := testnodes.Validity(time.Now(), ttl)
		res := a.Extend(context.Background(), ttl, timeout)
		s.mu.Lock()
		for _, v := range res.Votes {
			if v.Rejoined {
				s.stats.rejoins++
			}
		}
		s.mu.Unlock()
		misjoin(a, s.bug, res, ttl, timeout)
		if res.Verdict == round.Won && (time.Now().Before(until) || s.bug == rejoinLost) {
			until = extended
		}
	}
	if rng.IntN(4) == 0 {
		time.Sleep(testnodes.Draw(rng, 2*ttl))
	}
	if got := a.Fence(); got != fence {
		s.problem("the token of %s has changed from %d to %d", token, fence, got)
	}
	s.mu.Lock()
	s.grants[index].ended = until
	if time.Now().Before(until) {
		s.grants[index].ended = time.Now()
	}
	s.mu.Unlock()
	if rng.IntN(10) > 0 { // else it has crashed
		a.Release(context.Background(), timeout)
	} else {
		a.Crash() // which a crash would have ended too
	}
}

// trouble sets clocks, frees locks, stops processes, and lets nodes lose what they have.
func (s *ballot) trouble(rng *rand.Rand, stop <-chan struct{}) {
	hours := func() time.Duration { return time.Duration(rng.Int64N(int64(12*time.Hour))) - 6*time.Hour }
	for {
		select {
		case <-stop:
			return
		case <-time.After(testnodes.Draw(rng, s.ttl/10) + 1):
		}
		if s.bug == raisesForAll {
			s.part(rng)
		}
		if s.loss != nil {
			s.losses(rng)
			continue
		}
		v, p := s.nodes[rng.IntN(len(s.nodes))], s.processes[rng.IntN(len(s.processes))]
		switch what := rng.IntN(20); {
		case what < 10:
			s.count(&s.stats.frees)
			v.free(s.keys[rng.IntN(len(s.keys))])
		case what < 12:
			s.count(&s.stats.steps)
			p.clock.Set(hours())
		case what < 14 && !s.wipe:
			s.count(&s.stats.steps)
			v.offset.Set(hours())
		case what < 16:
			s.count(&s.stats.pauses)
			p.until.Store(time.Now().Add(testnodes.Draw(rng, 2*s.ttl)).UnixNano())
		case what < 17 && s.wipe:
			s.count(&s.stats.wipes)
			v.lose()
		}
	}
}

// part moves the counters of all nodes but one to the same value, as attempts do that
// this one does not hear of, and frees the lock there: that is where two second rounds
// meet that aim at one value.
func (s *ballot) part(rng *rand.Rand) {
	name, _ := proto.CounterKey(s.keys[0])
	behind := rng.IntN(len(s.nodes))
	for _, v := range s.nodes {
		v.mu.Lock()
		defer v.mu.Unlock()
	}
	highest := int64(0)
	for _, v := range s.nodes {
		highest = max(highest, v.counter(name))
	}
	for i, v := range s.nodes {
		if i != behind {
			v.setCounter(name, highest+1)
		}
		v.Set(s.keys[0], "nobody", time.Nanosecond)
	}
}

// simulateBallot runs the ballot of a seed, with a mistake.
func simulateBallot(t *testing.T, seed uint64, b ballotBug) *ballot {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 10))
	s := &ballot{
		bug: b, wipe: rng.IntN(5) == 0 || b == unclampedHints, rng: rand.New(rand.NewPCG(seed, 11)), raised: map[string]bool{},
		trip: 2*time.Millisecond + time.Duration(rng.IntN(2)), ttl: 400 * time.Millisecond, keys: []string{"k0", "k1"}[:1+rng.IntN(2)],
	}
	voters, byOnes := 1+rng.IntN(5), !s.wipe && rng.IntN(2) == 0
	if b == raisesForAll {
		s.wipe, s.keys, voters, byOnes = false, s.keys[:1], 3, true
	}
	s.run(t, rng, voters, byOnes)
	s.judge()
	return s
}

// run lets so many voters be asked by some processes.
func (s *ballot) run(t *testing.T, rng *rand.Rand, voters int, byOnes bool) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		for range voters {
			s.newVoter()
		}
		if byOnes {
			s.countsByOnes()
		}
		var everybody sync.WaitGroup
		for range 2 + rng.IntN(4) {
			p := s.newElector()
			for range 1 + rng.IntN(2) {
				rng := rand.New(rand.NewPCG(rng.Uint64(), 12))
				everybody.Go(func() {
					for range 12 {
						time.Sleep(testnodes.Draw(rng, s.ttl/4))
						p.lock(rng)
					}
				})
			}
		}
		stop := make(chan struct{})
		nemesis := rand.New(rand.NewPCG(rng.Uint64(), 13))
		var troubled sync.WaitGroup
		troubled.Go(func() { s.trouble(nemesis, stop) })
		everybody.Wait()
		close(stop)
		troubled.Wait()
		s.end()
	})
}

// end waits until nothing is under way any more.
func (s *ballot) end() {
	s.over.Store(true)
	for _, p := range s.processes {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := p.Wait(ctx); err != nil {
			s.problem("%d cleanups do not end: %v", p.Cleanups(), err)
		}
		cancel()
		p.Close()
	}
	time.Sleep(2*sender.CallTimeout + 2*linger)
	synctest.Wait()
	for i, p := range s.processes {
		if left := attempt.AtRest(p.Nodes); left != "" {
			s.problem("process %d: %s", i, left)
		}
		for _, key := range s.keys {
			if p.Contended(key) {
				s.problem("process %d: at rest, %s has a line", i, key)
			}
		}
		for inbox := range p.inboxes {
			if n := s.subscribers(p.inbox(inbox + 1)); n != 0 {
				s.problem("process %d: at rest, %s has %d subscribers", i, p.inbox(inbox+1), n)
			}
		}
	}
}

// judge looks at the tokens.
func (s *ballot) judge() {
	var apart time.Duration
	if s.wipe && s.loss == nil { // twice the slack of hints; votes that are closer than a microsecond count one each
		apart = 2*attempt.MaxHint + time.Millisecond
	}
	for _, key := range s.keys {
		var byCall, byWin []grant
		seen := map[uint64]bool{}
		for _, g := range s.grants {
			if g.key != key {
				continue
			}
			if seen[g.fence] && (!s.wipe || s.loss != nil) {
				s.problem("two locks of %s have the token %d", key, g.fence)
			}
			seen[g.fence] = true
			byCall, byWin = append(byCall, g), append(byWin, g)
		}
		slices.SortFunc(byCall, func(a, b grant) int { return a.called.Compare(b.called) })
		slices.SortFunc(byWin, func(a, b grant) int { return a.won.Compare(b.won) })
		highest := uint64(0) // of those that were granted before g was asked for
		for _, g := range byCall {
			for len(byWin) > 0 && byWin[0].won.Add(apart).Before(g.called) {
				highest = max(highest, byWin[0].fence)
				byWin = byWin[1:]
			}
			if g.fence <= highest {
				s.problem("%s was asked for after %d had been granted, and has the token %d", key, highest, g.fence)
			}
		}
	}
}

func TestFencingSchedules(t *testing.T) {
	n := (*testnodes.Schedules + 19) / 20 // each is as long as many of the others
	if testing.Short() {
		n = min(n, 20)
	}
	var total ballotStats
	testnodes.Each(t, n, func(t *testing.T, seed uint64) testnodes.Over {
		s := simulateBallot(t, seed, noBallotBug)
		what := fmt.Sprintf("%d nodes that lose what they have: %v", len(s.nodes), s.wipe)
		return testnodes.Over{Problems: s.problems, What: what, Note: func() { total.add(s.stats) }}
	})
	t.Logf("%d schedules, no violation: %v; %+v", n, !t.Failed(), total)
	if n < 100 {
		return
	}
	for what, count := range map[string]int{
		"granted": total.grants / 5, "in two rounds": (total.grants - total.oneRound) * 2, "failed": total.failed, "waited": total.waited, "prolonged": total.prolonged,
		"faults": total.faults, "freed": total.frees, "clocks set": total.steps, "paused": total.pauses, "wiped": total.wipes,
	} {
		if count < n {
			t.Errorf("%s: too rarely, %d, in %d schedules", what, count, n)
		}
	}
}

// The schedules notice what they are to notice, and nothing where nothing is wrong.
func TestFencingSchedulesNoticeBugs(t *testing.T) {
	for _, b := range []ballotBug{noBallotBug, raisesForAll, noSecondRound, votesTwice, unclampedHints} {
		name := string(b)
		if b == noBallotBug {
			name = "none"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			most := uint64(1000)
			if b == noBallotBug {
				most = 30
			}
			noticed, seed := "", uint64(1)
			for ; seed <= most && noticed == ""; seed++ {
				if s := simulateBallot(t, seed, b); len(s.problems) > 0 {
					noticed = s.problems[0]
				}
			}
			t.Logf("after %d schedules: %s", seed-1, noticed)
			if (noticed == "") != (b == noBallotBug) {
				t.Errorf("the schedules have noticed %q, with the bug %q", noticed, b)
			}
		})
	}
}

// Many clients that contend for a lock, whose clocks are off by hours: nearly all
// locks take one round.
func TestFencingContention(t *testing.T) {
	const clients, locks = 16, 25
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(n), 14))
			s := &ballot{
				calm: true, rng: rand.New(rand.NewPCG(uint64(n), 15)), raised: map[string]bool{},
				trip: time.Millisecond, ttl: 10 * time.Second, keys: []string{"k"},
			}
			synctest.Test(t, func(*testing.T) {
				for range n {
					s.newVoter()
					s.nodes[len(s.nodes)-1].offset.Set(testnodes.Draw(rng, 20*time.Millisecond))
				}
				var everybody sync.WaitGroup
				for range clients {
					p := s.newElector()
					p.clock.Set(testnodes.Draw(rng, 12*time.Hour) - 6*time.Hour)
					rng := rand.New(rand.NewPCG(rng.Uint64(), 16))
					everybody.Go(func() {
						for range locks {
							a, err := p.lockFenced("k")
							if err != nil {
								s.problem("%v", err)
								return
							}
							time.Sleep(testnodes.Draw(rng, 2*time.Millisecond))
							a.Release(context.Background(), timeout)
						}
					})
				}
				everybody.Wait()
				s.end()
			})
			s.judge()
			for _, p := range s.problems {
				t.Error(p)
			}
			share := float64(s.stats.oneRound) / float64(s.stats.grants)
			t.Logf("%d clients, %d nodes: %d locks, %.1f %% of them in one round", clients, n, s.stats.grants, 100*share)
			if s.stats.grants != clients*locks || share < 0.95 {
				t.Error("too few")
			}
		})
	}
}

// lockFenced waits until it has key with a fencing token.
func (p *elector) lockFenced(key string) (*attempt.Attempt, error) {
	s := p.s
	f, err := p.Fencing(key)
	if err != nil {
		return nil, err
	}
	token, called := "", time.Time{}
	next := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens++
		token, called = fmt.Sprint("t", s.tokens), time.Now()
		return token
	}
	r := p.waiting(key, s.ttl, timeout, caller{token: next})
	r.Fencing = f
	h, res := p.Lock(context.Background(), r)
	if res.Verdict != round.Won {
		return nil, fmt.Errorf("lock: %v", res)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.grants++
	s.grants = append(s.grants, grant{key: key, fence: h.Fence(), called: called, won: time.Now()})
	if !s.raised[token] {
		s.stats.oneRound++
	}
	return h.Attempt, nil
}
