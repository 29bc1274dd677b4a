package quorum

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/sender"
)

const (
	ttl     = 10 * time.Second
	timeout = 250 * time.Millisecond
)

// A nodeMake is what a node can do.
type nodeMake string

const (
	full     nodeMake = "full"     // every capability
	scripted nodeMake = "scripted" // runs scripts, does not batch
	bare     nodeMake = "bare"     // the three methods
)

var makes = []nodeMake{full, scripted, bare}

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
	g, err := NewGroup(nodes, Config{Abandoned: func(node, key string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.abandoned = append(w.abandoned, node+" "+key)
		if w.meanwhile != nil {
			w.meanwhile()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.group = g.proven()
	return w
}

// proven has the nodes of g have run a script before, so that plain commands acquire, as
// they do but for the first time.
func (g *Group) proven() *Group {
	for _, m := range g.members {
		m.releases.Store(true)
		for _, part := range m.parts {
			part.releases.Store(true)
		}
	}
	return g
}

// dress takes from f what a node of make m cannot do.
func dress(f *faulty.FaultNode, m nodeMake) backend.Node {
	switch m {
	case scripted:
		return struct {
			backend.Node
			backend.Scripter
		}{faulty.Bare(f), f}
	case bare:
		return faulty.Bare(f)
	}
	return f
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
	time.Sleep(2*CallTimeout + linger) // calls for which nobody waits, inboxes
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
	for _, first := range g.members {
		parts := first.parts
		if parts == nil {
			parts = []*member{first}
		}
		for _, l := range parts {
			if load := l.sender.Load(); load != (sender.Load{Away: load.Away}) {
				return fmt.Sprintf("at rest, %s has %+v", l.name, load)
			}
		}
	}
	if n := g.Cleanups(); n != 0 {
		return fmt.Sprintf("at rest, there are %d cleanups", n)
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
		Polls: func(node string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			p.polls = append(p.polls, fmt.Sprint(node, ": ", err))
		},
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
	if res := a.release(); res.Verdict != Won {
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
func (p *process) arrived(i int) []string {
	var words []string
	for _, op := range p.fault[i].Arrived() {
		if op.Kind != faulty.OpSubscribe && !isEcho(op) {
			words = append(words, word(op))
		}
	}
	return words
}

// mustAcquire locks key, which is free, without waiting.
func (p *process) mustAcquire(key string) *Attempt {
	p.w.t.Helper()
	a, res := p.Acquire(context.Background(), key, p.w.token(), ttl, timeout)
	if res.Verdict != Won {
		p.w.t.Fatalf("acquire: %v", res)
	}
	return a
}

// mustJoin takes the first place in the line for key.
func (p *process) mustJoin(key string) *Waiter {
	p.w.t.Helper()
	w, err := p.Join(context.Background(), key, time.Now(), nil)
	if err != nil {
		p.w.t.Fatalf("join: %v", err)
	}
	return w
}

// try lets waiter try once.
func (p *process) try(w *Waiter) (*Attempt, Result) {
	return w.Acquire(context.Background(), p.w.token(), ttl, timeout)
}

// lose lets waiter try once, which it must lose.
func (p *process) lose(w *Waiter) *Attempt {
	p.w.t.Helper()
	a, res := p.try(w)
	if res.Verdict != Lost {
		p.w.t.Fatalf("a waiter's try: %v, want lost", res)
	}
	return a
}

// win lets waiter try once, which it must win.
func (p *process) win(w *Waiter) *Attempt {
	p.w.t.Helper()
	a, res := p.try(w)
	if res.Verdict != Won {
		p.w.t.Fatalf("a waiter's try: %v, want won", res)
	}
	return a
}

// pollPace is how often waiters of tests poll where they have to.
const pollPace = 50 * time.Millisecond

// lock waits until it has key, or ctx ends.
func (p *process) lock(ctx context.Context, key string) (*Attempt, error) {
	return lockWaiting(ctx, p.Group, key, p.w.token, ttl, timeout)
}

// lockWaiting tries once, and then waits in line until it has key or ctx ends, as
// redlock does.
func lockWaiting(ctx context.Context, g *Group, key string, token func() string, ttl, timeout time.Duration) (*Attempt, error) {
	asked := time.Now()
	if !g.Contended(key) {
		a, res := g.Acquire(ctx, key, token(), ttl, timeout)
		if res.Verdict == Won {
			return a, nil
		}
		if res.CtxErr != nil {
			return nil, res.CtxErr
		}
	}
	w, err := g.Join(ctx, key, asked, nil)
	if err != nil {
		return nil, err
	}
	defer w.Leave()
	for {
		a, res := w.Acquire(ctx, token(), ttl, timeout)
		if res.Verdict == Won {
			return a, nil
		}
		if res.CtxErr != nil {
			return nil, res.CtxErr
		}
		if err := w.Wait(ctx, pollPace, 2*res.Elapsed); err != nil {
			return nil, err
		}
	}
}

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
func (w *world) value(i int, key string) string {
	e, _ := w.mem[i].Inspect(context.Background(), key)
	return e.Value
}

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

func (w *world) acquire(key string) (*Attempt, Result) {
	return w.group.Acquire(context.Background(), key, w.token(), ttl, timeout)
}

func (w *world) mustAcquire(key string) *Attempt {
	w.t.Helper()
	a, res := w.acquire(key)
	if res.Verdict != Won {
		w.t.Fatalf("acquire: %v", res)
	}
	return a
}

func (a *Attempt) release() Result { return a.Release(context.Background(), timeout) }
func (a *Attempt) extend() Result  { return a.Extend(context.Background(), ttl, timeout) }

// warm has every node answer once, so that N=1 calls inline from then on.
func (w *world) warm() {
	w.t.Helper()
	if res := w.mustAcquire("warm").release(); res.Verdict != Won {
		w.t.Fatalf("release: %v", res)
	}
	synctest.Wait()
	for _, f := range w.fault {
		f.Forget()
	}
}

// holders returns how many nodes hold token at key.
func (w *world) holders(key, token string) int { return countHolders(w.mem, key, token) }

func countHolders(mem []*memory.Node, key, token string) int {
	n := 0
	for _, m := range mem {
		if e, _ := m.Inspect(context.Background(), key); e.Found && e.Value == token {
			n++
		}
	}
	return n
}

// empty reports an error if any key is left on the given nodes, all of them if
// none is given.
func (w *world) empty(nodes ...int) {
	w.t.Helper()
	for i, m := range w.mem {
		if len(nodes) > 0 && !slices.Contains(nodes, i) {
			continue
		}
		if keys := m.Keys(); len(keys) > 0 {
			w.t.Errorf("%d keys are left on node %d: %.3q", len(keys), i, keys)
		}
	}
}

// arrived returns what arrived at node i, a word for each operation.
func (w *world) arrived(i int) []string {
	var kinds []string
	for _, op := range w.fault[i].Arrived() {
		kinds = append(kinds, word(op))
	}
	return kinds
}

// isEcho reports whether op is about the inbox, and not about a lock.
func isEcho(op backend.Op) bool { return op.Kind == backend.OpEval && op.Script == lua.Echo }

func word(op backend.Op) string {
	switch op.Kind {
	case backend.OpSetNX:
		return "set"
	case backend.OpEvalDelete:
		return "delete"
	case backend.OpExtend:
		return "extend"
	case backend.OpEval:
		if op.Script == lua.Release || op.Script == lua.Rollback && op.Args[1] == "" {
			return "delete"
		}
		return op.Script.Name()
	}
	return op.Kind.String()
}

var (
	sets    = faulty.Kind(backend.OpSetNX)
	deletes = func(op backend.Op) bool { return word(op) == "delete" }
	extends = faulty.Kind(backend.OpExtend)

	// dead is a server that is not there.
	dead = faulty.Refuse(nil)
	// broken is a connection that breaks; whether the request arrived is unknown,
	// but it has not.
	broken = faulty.LoseRequest(nil)
	denied = faulty.Refuse(backend.MarkReply(errors.New("NOPERM this user has no permissions")))
)

// lateAfterBreak is a connection that breaks at once while the request is on its
// way, to arrive d later.
func lateAfterBreak(d time.Duration) faulty.Fault {
	return func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
		own := slices.Clone(ops)
		time.AfterFunc(d, func() { next(context.WithoutCancel(ctx), own) })
		return broken(ctx, ops, next)
	}
}

// busyMeter counts the calls that are under way.
type busyMeter struct{ now, most, calls, ops, mostOps atomic.Int64 }

func (m *busyMeter) fault(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	raise(&m.most, m.now.Add(1))
	raise(&m.mostOps, int64(len(ops)))
	m.calls.Add(1)
	m.ops.Add(int64(len(ops)))
	defer m.now.Add(-1)
	return next(ctx, ops)
}

func raise(most *atomic.Int64, to int64) {
	for {
		old := most.Load()
		if to <= old || most.CompareAndSwap(old, to) {
			return
		}
	}
}

// draw returns a time below d.
func draw(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

func (o Outcome) letter() byte { return "PGTNFOSQ"[o] }

// outcomes says votes in a letter each: Pending, Granted, Taken, NotHeld, Failed,
// timed Out, Skipped, Quarantined.
func outcomes(votes []Vote) string {
	b := make([]byte, len(votes))
	for i, v := range votes {
		b[i] = v.Outcome.letter()
	}
	return string(b)
}

func (v Verdict) String() string {
	return [...]string{"undecided", "won", "lost", "gone", "unavailable"}[v]
}

func (r Result) String() string {
	return fmt.Sprintf("%v (%s) after %v, ctx: %v", r.Verdict, outcomes(r.Votes), r.Elapsed, r.CtxErr)
}

// want reports an error if the verdict or the time that it took differ.
func (r Result) want(t *testing.T, what string, v Verdict, after time.Duration) {
	t.Helper()
	if r.Verdict != v || r.Elapsed != after {
		t.Errorf("%s: %v, want %v after %v", what, r, v, after)
	}
}
