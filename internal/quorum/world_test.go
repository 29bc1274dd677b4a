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
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
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
	t      *testing.T
	group  *Group
	mem    []*memory.Node
	fault  []*backendtest.FaultNode
	tokens int

	mu        sync.Mutex
	abandoned []string // what Config.Abandoned was told
	meanwhile func()   // nil, or what it does besides
}

func newWorld(t *testing.T, n int, m nodeMake) *world {
	t.Helper()
	w := &world{t: t}
	var nodes []backend.Node
	for i := range n {
		mem := memory.New(memory.WithName(fmt.Sprint("n", i)))
		fault := backendtest.NewFaultNode(mem)
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
	w.group = g
	return w
}

// dress takes from f what a node of make m cannot do.
func dress(f *backendtest.FaultNode, m nodeMake) backend.Node {
	switch m {
	case scripted:
		return struct {
			backend.Node
			backend.Scripter
		}{backendtest.Bare(f), f}
	case bare:
		return backendtest.Bare(f)
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
		w.rest(time.Hour)
	})
}

// rest waits until the group is at rest, at most for d.
func (w *world) rest(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := w.group.Wait(ctx); err != nil {
		w.t.Fatalf("%d cleanups are under way after %v", w.group.Cleanups(), d)
	}
	time.Sleep(2 * CallTimeout) // calls for which nobody waits
	synctest.Wait()
	if problem := atRest(w.group); problem != "" {
		w.t.Error(problem)
	}
}

// atRest returns what is still going on in g, the empty string if nothing is.
func atRest(g *Group) string {
	for _, l := range g.lanes {
		urgent, acquires := queues(l)
		l.mu.Lock()
		calls := l.calls
		l.mu.Unlock()
		if calls != 0 || urgent != 0 || acquires != 0 {
			return fmt.Sprintf("at rest, %s has %d calls, %d urgent operations and %d acquires", l.name, calls, urgent, acquires)
		}
	}
	if n := g.Cleanups(); n != 0 {
		return fmt.Sprintf("at rest, there are %d cleanups", n)
	}
	return ""
}

func (w *world) token() string {
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

func word(op backend.Op) string {
	switch op.Kind {
	case backend.OpSetNX:
		return "set"
	case backend.OpEvalDelete:
		return "delete"
	case backend.OpExtend:
		return "extend"
	case backend.OpEval:
		return op.Script.Name()
	}
	return op.Kind.String()
}

var (
	sets    = backendtest.Kind(backend.OpSetNX)
	deletes = backendtest.Kind(backend.OpEvalDelete)
	extends = backendtest.Kind(backend.OpExtend)

	// dead is a server that is not there.
	dead = backendtest.Refuse(nil)
	// broken is a connection that breaks; whether the request arrived is unknown,
	// but it has not.
	broken = backendtest.LoseRequest(nil)
	denied = backendtest.Refuse(backend.MarkReply(errors.New("NOPERM this user has no permissions")))
)

// lateAfterBreak is a connection that breaks at once while the request is on its
// way, to arrive d later.
func lateAfterBreak(d time.Duration) backendtest.Fault {
	return func(ctx context.Context, ops []backend.Op, next backendtest.Send) []backend.Result {
		own := slices.Clone(ops)
		time.AfterFunc(d, func() { next(context.WithoutCancel(ctx), own) })
		return broken(ctx, ops, next)
	}
}

// busyMeter counts the calls that are under way.
type busyMeter struct{ now, most, calls, ops, mostOps atomic.Int64 }

func (m *busyMeter) fault(ctx context.Context, ops []backend.Op, next backendtest.Send) []backend.Result {
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

func (o Outcome) letter() byte { return "PGTNFOS"[o] }

// outcomes says votes in a letter each: Pending, Granted, Taken, NotHeld, Failed,
// timed Out, Skipped.
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
