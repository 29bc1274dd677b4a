package quorum

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

const (
	ttl     = 10 * time.Second
	timeout = 250 * time.Millisecond
)

// What the tests of the core share has short names here.
type (
	nodeMake = testnodes.Make
	halves   = testnodes.Halves
)

const (
	full     = testnodes.Full
	scripted = testnodes.Scripted
	bare     = testnodes.Bare
)

var (
	makes    = testnodes.Makes
	dress    = testnodes.Dress
	word     = testnodes.Word
	isEcho   = testnodes.IsEcho
	deletes  = testnodes.Deletes
	votes    = testnodes.Votes
	raises   = testnodes.Raises
	scripts  = faulty.Kind(backend.OpEval)
	dead     = testnodes.Dead
	broken   = testnodes.Broken
	denied   = testnodes.Denied
	draw     = testnodes.Draw
	outcomes = round.Outcomes

	eachSchedule = testnodes.Each
	schedules    = testnodes.Schedules
)

// A world is a group over nodes in memory, behind faults.
type world struct {
	t         *testing.T
	make      nodeMake
	group     *Group
	mem       []*memory.Node
	fault     []*faulty.FaultNode
	processes []*process

	mu        sync.Mutex
	tokens    int
	abandoned []string // what Config.Abandoned was told
	meanwhile func()   // nil, or what it does besides
}

func newWorld(t *testing.T, n int, m nodeMake) *world {
	t.Helper()
	w := &world{t: t, make: m}
	var nodes []backend.Node
	for i := range n {
		mem := memory.New(memory.WithName(fmt.Sprint("n", i)))
		fault := faulty.NewFaultNode(mem)
		w.mem, w.fault = append(w.mem, mem), append(w.fault, fault)
		nodes = append(nodes, dress(fault, m))
	}
	g, err := NewGroup(nodes, Config{Config: attempt.Config{Abandoned: func(node, key string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.abandoned = append(w.abandoned, node+" "+key)
		if w.meanwhile != nil {
			w.meanwhile()
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	w.group = g.proven()
	return w
}

// proven has the nodes of g have run a script before, so that plain commands acquire, as
// they do but for the first time.
func (g *Group) proven() *Group {
	testnodes.Prove(g.Members)
	return g
}

// inWorld runs f in a bubble for each make of node, and checks in the end that
// the group is at rest: nothing to clean up, nothing queued, no call under way.
func inWorld(t *testing.T, n int, f func(t *testing.T, w *world)) {
	t.Helper()
	for _, m := range makes {
		t.Run(string(m), func(t *testing.T) { inWorldOf(t, n, m, f) })
	}
}

func inWorldOf(t *testing.T, n int, m nodeMake, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, m)
		f(t, w)
		for _, n := range w.fault {
			n.Clear()
		}
		for _, p := range w.processes {
			p.set()
		}
		w.rest(time.Hour)
	})
}

// rest waits until the group is at rest, at most for d until its cleanups are over.
func (w *world) rest(d time.Duration) {
	w.t.Helper()
	groups := w.cleaned(d)
	time.Sleep(2*sender.CallTimeout + linger) // calls for which nobody waits, inboxes
	synctest.Wait()
	for _, g := range groups {
		if problem := atRest(g); problem != "" {
			w.t.Error(problem)
		}
	}
}

// cleaned waits until the cleanups of all groups are over, at most for d, and returns the
// groups.
func (w *world) cleaned(d time.Duration) []*Group {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	groups := []*Group{w.group}
	for _, p := range w.processes {
		groups = append(groups, p.Group)
	}
	for _, g := range groups {
		if err := g.Wait(ctx); err != nil {
			w.t.Fatalf("%d cleanups are under way after %v", g.Cleanups(), d)
		}
	}
	return groups
}

// atRest returns what is still going on in g, the empty string if nothing is.
func atRest(g *Group) string {
	if problem := testnodes.AtRest(g.Members, g.Cleanups()); problem != "" {
		return problem
	}
	ls := &g.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.byKey) != 0 || ls.waiting != 0 || ls.inbox != nil {
		return fmt.Sprintf("at rest, there are %d lines and %d waiters; an inbox: %v", len(ls.byKey), ls.waiting, ls.inbox != nil)
	}
	return ""
}

// A process is a group of its own over the nodes of a world, behind faults of its
// own, whose waiters can be called.
type process struct {
	*Group
	w     *world
	fault []*faulty.FaultNode
	polls []string // what Config.Polls was told; guarded by w.mu
}

func (w *world) process(m nodeMake) *process {
	w.t.Helper()
	return w.processOver(m, func(mem *memory.Node) backend.Node { return mem })
}

// processOver is process with nodes that are behind something else besides.
func (w *world) processOver(m nodeMake, behind func(*memory.Node) backend.Node) *process {
	w.t.Helper()
	p := &process{w: w}
	id, inboxes := len(w.processes), 0
	var nodes []backend.Node
	for _, mem := range w.mem {
		fault := faulty.NewFaultNode(behind(mem))
		p.fault = append(p.fault, fault)
		nodes = append(nodes, dress(fault, m))
	}
	g, err := NewGroup(nodes, Config{
		Inbox: func() string {
			inboxes++
			return fmt.Sprintf("inbox-%d-%d", id, inboxes)
		},
		Config: attempt.Config{Polls: func(node string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			p.polls = append(p.polls, fmt.Sprint(node, ": ", err))
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p.Group = g.proven()
	w.processes = append(w.processes, p)
	return p
}

// set puts faults between the process and every node.
func (p *process) set(faults ...faulty.Fault) {
	for _, f := range p.fault {
		f.Set(faults...)
	}
}

// distant lets a round trip to each node take trip, and measures it.
func (p *process) distant(trip time.Duration) *process {
	p.w.t.Helper()
	p.set(faulty.Delay(trip/2), faulty.DelayReply(trip/2))
	a := p.mustAcquire("warm")
	if res := release(a); res.Verdict != round.Won {
		p.w.t.Fatalf("release: %v", res)
	}
	time.Sleep(2 * trip)
	p.forget()
	return p
}

func (p *process) forget() {
	for _, f := range p.fault {
		f.Forget()
	}
}

// arrived returns what arrived from the process at node i, a word for each
// operation.
func (p *process) arrived(i int) []string { return testnodes.LockWords(p.fault[i]) }

// mustAcquire locks key, which is free, without waiting.
func (p *process) mustAcquire(key string) *attempt.Attempt {
	p.w.t.Helper()
	a, res := p.acquire(context.Background(), nil, key, p.w.token(), ttl, timeout)
	if res.Verdict != round.Won {
		p.w.t.Fatalf("acquire: %v", res)
	}
	synctest.Wait() // a quorum decides, and the other nodes answer later
	return a
}

// mustJoin takes the first place in the line for key.
func (p *process) mustJoin(key string) *waiter {
	p.w.t.Helper()
	w, err := p.join(context.Background(), key, time.Now(), nil)
	if err != nil {
		p.w.t.Fatalf("join: %v", err)
	}
	return w
}

// try lets waiter try once.
func (p *process) try(w *waiter) (*attempt.Attempt, round.Result) {
	return w.acquire(context.Background(), nil, p.w.token(), ttl, timeout)
}

// lose lets waiter try once, which it must lose.
func (p *process) lose(w *waiter) *attempt.Attempt {
	p.w.t.Helper()
	a, res := p.try(w)
	if res.Verdict != round.Lost {
		p.w.t.Fatalf("a waiter's try: %v, want lost", res)
	}
	return a
}

// win lets waiter try once, which it must win.
func (p *process) win(w *waiter) *attempt.Attempt {
	p.w.t.Helper()
	a, res := p.try(w)
	if res.Verdict != round.Won {
		p.w.t.Fatalf("a waiter's try: %v, want won", res)
	}
	return a
}

// pollPace is how often waiters of tests poll where they have to.
const pollPace = 50 * time.Millisecond

// lock waits until it has key, or gives up.
func (p *process) lock(ctx context.Context, key string) (*attempt.Attempt, error) {
	h, res := p.Lock(ctx, p.waiting(key, ttl, timeout, caller{token: p.w.token}))
	if res.Verdict != round.Won {
		return nil, fmt.Errorf("lock: %v", res)
	}
	return h.Attempt, nil
}

// waiting returns the request of a call that waits as redlock does by default.
func (g *Group) waiting(key string, ttl, timeout time.Duration, c Caller) Request {
	return Request{
		Key: key, TTL: ttl, Timeout: timeout, Start: g.Config.Clock.Now(), Queue: true, Patience: ttl, Caller: c,
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

func (c caller) Pause(bool) (time.Duration, bool) { return pollPace, true }

// queue returns the tickets that wait for key on node i.
func (w *world) queue(i int, key string) []string {
	w.t.Helper()
	name, _ := proto.QueueKey(key)
	r, err := w.mem[i].Eval(context.Background(), lua.Inspect, []string{key, name}, []string{"10000"})
	if err != nil {
		w.t.Fatal(err)
	}
	var tickets []string
	for n := 4; n < len(r); n += 2 {
		ticket, _ := r.Text(n)
		tickets = append(tickets, ticket)
	}
	return tickets
}

// queued returns how many tickets wait for key, node by node.
func (w *world) queued(key string) []int {
	w.t.Helper()
	var n []int
	for i := range w.mem {
		n = append(n, len(w.queue(i, key)))
	}
	return n
}

// value returns what key holds on node i.
func (w *world) value(i int, key string) string { return testnodes.Value(w.mem[i], key) }

// ticket returns the ticket of the process, "" if it has none at present.
func (p *process) ticket() string {
	p.locals.mu.Lock()
	defer p.locals.mu.Unlock()
	if p.locals.inbox == nil {
		return ""
	}
	return p.locals.inbox.ticket
}

func (w *world) token() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens++
	return fmt.Sprint("t", w.tokens)
}

// acquire makes an attempt that does not wait, with a fencing token if f is not nil.
func (g *Group) acquire(ctx context.Context, f *attempt.Fencing, key, token string, ttl, timeout time.Duration) (*attempt.Attempt, round.Result) {
	a := attempt.New(g.Nodes, key, token)
	a.Vote(f, ttl)
	return a, a.Acquire(ctx, ttl, timeout)
}

func (w *world) acquire(key string) (*attempt.Attempt, round.Result) {
	return w.group.acquire(context.Background(), nil, key, w.token(), ttl, timeout)
}

func (w *world) mustAcquire(key string) *attempt.Attempt {
	w.t.Helper()
	a, res := w.acquire(key)
	if res.Verdict != round.Won {
		w.t.Fatalf("acquire: %v", res)
	}
	return a
}

func release(a *attempt.Attempt) round.Result { return a.Release(context.Background(), timeout) }
func extend(a *attempt.Attempt) round.Result  { return a.Extend(context.Background(), ttl, timeout) }

// holders returns how many nodes hold token at key.
func (w *world) holders(key, token string) int { return testnodes.CountHolders(w.mem, key, token) }

// empty reports an error if any key is left on the given nodes, all of them if
// none is given.
func (w *world) empty(nodes ...int) {
	w.t.Helper()
	testnodes.Empty(w.t, w.mem, nodes...)
}

// arrived returns what arrived at node i, a word for each operation.
func (w *world) arrived(i int) []string { return testnodes.Words(w.fault[i]) }

// expect reports an error if the verdict of r or the time that it took differ.
func expect(t *testing.T, r round.Result, what string, v round.Verdict, after time.Duration) {
	t.Helper()
	if r.Verdict != v || r.Elapsed != after {
		t.Errorf("%s: %v, want %v after %v", what, r, v, after)
	}
}
