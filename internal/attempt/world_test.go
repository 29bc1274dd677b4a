package attempt

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
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
	dead     = testnodes.Dead
	broken   = testnodes.Broken
	denied   = testnodes.Denied
	draw     = testnodes.Draw
	outcomes = round.Outcomes
	sets     = testnodes.Sets
	votes    = testnodes.Votes
	raises   = testnodes.Raises
	extends  = testnodes.Extends

	lateAfterBreak = testnodes.LateAfterBreak
	eachSchedule   = testnodes.Each
	schedules      = testnodes.Schedules
)

// A world is a group over nodes in memory, behind faults.
type world struct {
	t         *testing.T
	make      nodeMake
	group     *Nodes
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
	g, err := NewNodes(nodes, Config{Abandoned: func(node, key string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.abandoned = append(w.abandoned, node+" "+key)
		if w.meanwhile != nil {
			w.meanwhile()
		}
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.group = g.proven()
	return w
}

// proven has the nodes of g have run a script before, so that plain commands acquire, as
// they do but for the first time.
func (g *Nodes) proven() *Nodes {
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

// refusedRepeat is the interval at which a refused deletion is repeated: see package sender.
const refusedRepeat = 5 * time.Second

// rest waits until the group is at rest, at most for d until its cleanups are over.
func (w *world) rest(d time.Duration) {
	w.t.Helper()
	groups := w.cleaned(d)
	time.Sleep(2*sender.CallTimeout + refusedRepeat) // calls for which nobody waits
	synctest.Wait()
	for _, g := range groups {
		if problem := atRest(g); problem != "" {
			w.t.Error(problem)
		}
	}
}

// cleaned waits until the cleanups of all groups are over, at most for d, and returns the
// groups.
func (w *world) cleaned(d time.Duration) []*Nodes {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	groups := []*Nodes{w.group}
	for _, p := range w.processes {
		groups = append(groups, p.Nodes)
	}
	for _, g := range groups {
		if err := g.Wait(ctx); err != nil {
			w.t.Fatalf("%d cleanups are under way after %v", g.Cleanups(), d)
		}
	}
	return groups
}

// atRest returns what is still going on in g, the empty string if nothing is.
func atRest(g *Nodes) string { return testnodes.AtRest(g.Members, g.Cleanups()) }

// A process is a group of its own over the nodes of a world, behind faults of its
// own.
type process struct {
	*Nodes
	w     *world
	fault []*faulty.FaultNode
}

func (w *world) process(m nodeMake) *process {
	w.t.Helper()
	return w.processOver(m, func(mem *memory.Node) backend.Node { return mem })
}

// processOver is process with nodes that are behind something else besides.
func (w *world) processOver(m nodeMake, behind func(*memory.Node) backend.Node) *process {
	w.t.Helper()
	p := &process{w: w}
	var nodes []backend.Node
	for _, mem := range w.mem {
		fault := faulty.NewFaultNode(behind(mem))
		p.fault = append(p.fault, fault)
		nodes = append(nodes, dress(fault, m))
	}
	g, err := NewNodes(nodes, Config{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	p.Nodes = g.proven()
	w.processes = append(w.processes, p)
	return p
}

// set puts faults between the process and every node.
func (p *process) set(faults ...faulty.Fault) {
	for _, f := range p.fault {
		f.Set(faults...)
	}
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
func (p *process) mustAcquire(key string) *Attempt {
	p.w.t.Helper()
	a, res := p.acquire(context.Background(), nil, key, p.w.token(), ttl, timeout)
	if res.Verdict != round.Won {
		p.w.t.Fatalf("acquire: %v", res)
	}
	synctest.Wait() // a quorum decides, and the other nodes answer later
	return a
}

// value returns what key holds on node i.
func (w *world) value(i int, key string) string { return testnodes.Value(w.mem[i], key) }

func (w *world) token() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens++
	return fmt.Sprint("t", w.tokens)
}

func (w *world) acquire(key string) (*Attempt, round.Result) {
	return w.group.acquire(context.Background(), nil, key, w.token(), ttl, timeout)
}

func (w *world) mustAcquire(key string) *Attempt {
	w.t.Helper()
	a, res := w.acquire(key)
	if res.Verdict != round.Won {
		w.t.Fatalf("acquire: %v", res)
	}
	return a
}

// acquire makes an attempt, with a fencing token if f is not nil.
func (ns *Nodes) acquire(ctx context.Context, f *Fencing, key, token string, ttl, timeout time.Duration) (*Attempt, round.Result) {
	a := New(ns, key, token)
	a.Vote(f, ttl)
	return a, a.Acquire(ctx, ttl, timeout)
}

func (a *Attempt) release() round.Result { return a.Release(context.Background(), timeout) }
func (a *Attempt) extend() round.Result  { return a.Extend(context.Background(), ttl, timeout) }

// warm has every node answer once, so that N=1 calls inline from then on.
func (w *world) warm() {
	w.t.Helper()
	if res := w.mustAcquire("warm").release(); res.Verdict != round.Won {
		w.t.Fatalf("release: %v", res)
	}
	synctest.Wait()
	for _, f := range w.fault {
		f.Forget()
	}
}

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
