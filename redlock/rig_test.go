package redlock

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// A rig is a set of nodes that a test can control: memory nodes that hold the keys, called a, b,
// c …, and a fault node in front of each.
type rig struct {
	t       *testing.T
	bare    bool // the Locker sees nodes without capabilities
	mem     []*memory.Node
	fault   []*faulty.FaultNode
	nodes   []backend.Node // what the Locker gets
	virtual bool           // it is in a bubble of virtual time
}

func newRig(t *testing.T, size int, bare bool) *rig {
	r := &rig{t: t, bare: bare}
	for i := range size {
		mem := memory.New(memory.WithName(string(rune('a' + i))))
		fault := faulty.NewFaultNode(mem)
		var node backend.Node = fault
		if bare {
			node = faulty.Bare(fault)
		}
		r.mem, r.fault, r.nodes = append(r.mem, mem), append(r.fault, fault), append(r.nodes, node)
	}
	return r
}

// eachRig runs f in a bubble of virtual time for quorums of 1, 3 and 5 nodes, both bare nodes and
// nodes with all capabilities.
func eachRig(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	for _, size := range []int{1, 3, 5} {
		for _, bare := range []bool{false, true} {
			name := fmt.Sprint(size)
			if bare {
				name += " bare"
			}
			t.Run(name, func(t *testing.T) { onRig(t, size, bare, f) })
		}
	}
}

// onRig runs f in a bubble of virtual time. Afterwards, calls that hang and unused subscriptions
// have a moment to end. The bubble fails the test if any goroutine is left then.
func onRig(t *testing.T, size int, bare bool, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, size, bare)
		r.virtual = true
		defer func() {
			r.clear()
			time.Sleep(2*sender.CallTimeout + 10*time.Second)
		}()
		f(t, r)
	})
}

func (r *rig) locker(opts ...Option) *Locker {
	r.t.Helper()
	l, err := New(r.nodes, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// lock locks key, which must be free. In virtual time it waits until all nodes have answered.
func (r *rig) lock(l *Locker, key string, opts ...LockOption) *Lock {
	r.t.Helper()
	lock, err := l.TryLock(r.t.Context(), key, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.virtual {
		synctest.Wait()
	}
	return lock
}

func (r *rig) need() int { return len(r.mem)/2 + 1 }

// minority is the number of nodes that may fail.
func (r *rig) minority() int { return len(r.mem) - r.need() }

// set puts faults on the nodes from first to end-1.
func (r *rig) set(first, end int, faults ...faulty.Fault) {
	for _, f := range r.fault[first:end] {
		f.Set(faults...)
	}
}

func (r *rig) setAll(faults ...faulty.Fault) { r.set(0, len(r.fault), faults...) }

func (r *rig) clear() { r.setAll() }

// holders counts the nodes that hold key, with that token unless it is "".
func (r *rig) holders(key, token string) int {
	n := 0
	for _, m := range r.mem {
		if e, _ := m.Inspect(r.t.Context(), key); e.Found && (token == "" || e.Value == token) {
			n++
		}
	}
	return n
}

// expiry returns the time until which a quorum of nodes holds key with token, or the zero time if
// there is none.
func (r *rig) expiry(key, token string) time.Time {
	var left []time.Duration
	for _, m := range r.mem {
		if e, _ := m.Inspect(r.t.Context(), key); e.Found && e.Value == token {
			left = append(left, e.TTL)
		}
	}
	if len(left) < r.need() {
		return time.Time{}
	}
	slices.Sort(left)
	return time.Now().Add(left[len(left)-r.need()])
}

// calls counts the calls on all nodes. In virtual time it waits for those that are under way,
// because a caller with the answers of a quorum does not wait for the others.
func (r *rig) calls() int {
	if r.virtual {
		synctest.Wait()
	}
	n := 0
	for _, f := range r.fault {
		n += len(f.Calls())
	}
	return n
}

// arrived counts the operations of a kind that arrived at any node.
func (r *rig) arrived(which func(backend.Op) bool) int {
	n := 0
	for _, f := range r.fault {
		for _, op := range f.Arrived() {
			if which(op) {
				n++
			}
		}
	}
	return n
}

// releases matches the operations that release a lock.
func releases(op backend.Op) bool {
	return op.Kind == backend.OpEvalDelete ||
		op.Kind == backend.OpEval && (op.Script == lua.Release || op.Script == lua.Rollback && op.Args[1] == "")
}

// clean removes the faults, waits until l has cleaned up, and fails the test if any node holds
// any key then. In virtual time it also waits for deletions by other Lockers that are under way,
// because a release returns when a quorum has answered.
func (r *rig) clean(l *Locker) {
	r.t.Helper()
	r.clear()
	if err := l.Close(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if r.virtual {
		synctest.Wait()
	}
	r.empty()
}

func (r *rig) empty() {
	r.t.Helper()
	for i, m := range r.mem {
		if keys := m.Keys(); len(keys) > 0 {
			r.t.Errorf("node %d holds %q", i, keys)
		}
	}
}

// matches fails the test unless err matches each of targets.
func matches(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("error %v, want one that matches %q", err, target)
		}
	}
}

// differs fails the test if err matches any of targets.
func differs(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if errors.Is(err, target) {
			t.Fatalf("error %v, want one that does not match %q", err, target)
		}
	}
}

// took fails the test unless the time since start is from least to most.
func took(t *testing.T, start time.Time, least, most time.Duration) {
	t.Helper()
	if d := time.Since(start); d < least || d > most {
		t.Fatalf("it took %v, want from %v to %v", d, least, most)
	}
}

// suspend returns a clock for l.clock.Wall, and a function that advances it by d, as if the
// machine had been suspended for d while the monotonic clock stood still. A negative d sets the
// clock back.
func suspend(l *Locker) func(d time.Duration) {
	var offset safeDuration
	l.clock.Wall = func() time.Time { return time.Now().Add(offset.get()) }
	return offset.add
}

// safeDuration is a duration that goroutines can share.
type safeDuration struct{ ns atomic.Int64 }

func (d *safeDuration) get() time.Duration  { return time.Duration(d.ns.Load()) }
func (d *safeDuration) add(x time.Duration) { d.ns.Add(int64(x)) }

// logText is what was logged, as text.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
