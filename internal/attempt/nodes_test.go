package attempt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
)

// Nodes as nobody should make them.
type (
	sliceNode   []backend.Node
	wrapper     struct{ backend.Node } // comparable by its type, not always by what it holds
	unnamedNode struct{ *memory.Node }
)

func (unnamedNode) Name() string { return "" }

func (sliceNode) SetNX(context.Context, string, string, time.Duration) (bool, error) {
	return false, nil
}
func (sliceNode) EvalDelete(context.Context, string, string) (bool, error) { return false, nil }
func (sliceNode) Extend(context.Context, string, string, time.Duration) (bool, error) {
	return false, nil
}

func TestNewNodes(t *testing.T) {
	a, b, c := memory.New(memory.WithName("a")), memory.New(memory.WithName("b")), memory.New(memory.WithName("c"))
	a2 := memory.New(memory.WithName("a"))
	bareA := faulty.Bare(a)
	for _, tc := range []struct {
		name  string
		nodes []backend.Node
		need  int
		want  int    // need
		err   string // or this
	}{
		{name: "one", nodes: []backend.Node{a}, want: 1},
		{name: "two", nodes: []backend.Node{a, b}, want: 2},
		{name: "three", nodes: []backend.Node{a, b, c}, want: 2},
		{name: "three of three", nodes: []backend.Node{a, b, c}, need: 3, want: 3},
		{name: "none", err: "no nodes"},
		{name: "nil", nodes: []backend.Node{a, nil, b}, err: "node 1 is nil"},
		{name: "a nil pointer", nodes: []backend.Node{(*memory.Node)(nil)}, err: "node 0 is nil"},
		{name: "the same node", nodes: []backend.Node{a, b, a}, err: "nodes 0 and 2 are the same, a"},
		{name: "the same node without a name", nodes: []backend.Node{b, bareA, bareA}, err: "nodes 1 and 2 are the same"},
		{name: "the same name", nodes: []backend.Node{b, a, a2}, err: "nodes 1 and 2 are the same, a"},
		{name: "two without a name", nodes: []backend.Node{unnamedNode{a}, unnamedNode{b}}, want: 2},
		{name: "a name that is another's position", nodes: []backend.Node{memory.New(memory.WithName("node 1")), faulty.Bare(b)}, want: 2},
		{name: "cannot be compared", nodes: []backend.Node{sliceNode{a}, sliceNode{a}}, want: 2},
		{name: "holds what cannot be compared", nodes: []backend.Node{wrapper{sliceNode{a}}, wrapper{sliceNode{a}}}, want: 2},
		{name: "a minority", nodes: []backend.Node{a, b, c}, need: 1, err: "1 of 3"},
		{name: "half", nodes: []backend.Node{a, b}, need: 1, err: "1 of 2"},
		{name: "more than all", nodes: []backend.Node{a, b, c}, need: 4, err: "4 of 3"},
		{name: "less than none", nodes: []backend.Node{a}, need: -1, err: "-1 of 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := NewNodes(tc.nodes, Config{Need: tc.need}, nil)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("the error is %v, want one that says %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g.Need() != tc.want || g.Size() != len(tc.nodes) {
				t.Errorf("%d of %d, want %d", g.Need(), g.Size(), tc.want)
			}
		})
	}
	g, err := NewNodes([]backend.Node{a, bareA}, Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a", "node 1"} {
		if _, name := g.Node(i); name != want {
			t.Errorf("node %d is called %q, want %q", i, name, want)
		}
	}
}

// Wait ends at the moment when the last key is gone, not before and not after.
func TestWait(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		if err := w.group.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.fault[0].Set(faulty.On(deletes, faulty.Late(100*time.Millisecond)))
		w.fault[1].Set(faulty.On(sets, faulty.Late(700*time.Millisecond)))
		w.fault[2].Set(faulty.On(deletes, faulty.Late(300*time.Millisecond)))
		a := w.mustAcquire("k")
		b := w.mustAcquire("l")
		time.Sleep(senderStagger) // until all sets are under way
		synctest.Wait()
		a.Abandon()
		b.Abandon()
		if got := w.group.Cleanups(); got != 6 {
			t.Errorf("%d cleanups", got)
		}

		var wg sync.WaitGroup
		start := time.Now()
		for range 3 { // any number may wait
			wg.Go(func() {
				if err := w.group.Wait(context.Background()); err != nil {
					t.Error(err)
				}
				if took := time.Since(start) - 700*time.Millisecond; took.Abs() > senderStagger {
					t.Errorf("waited for %v more than the late sets take", took)
				}
				w.empty()
			})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if err := w.group.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait with a deadline: %v", err)
		}
		if got := w.group.Cleanups(); got != 2 {
			t.Errorf("%d cleanups after 500ms", got)
		}
		wg.Wait()
	})
}

// However often and however an attempt is released, each of its node states is one
// cleanup.
func TestReleasedTwice(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for _, f := range w.fault {
			f.Set(faulty.On(deletes, faulty.First(1, faulty.Delay(50*time.Millisecond))))
		}
		a := w.mustAcquire("k")
		synctest.Wait()
		a.Abandon()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { a.release() })
			wg.Go(a.Abandon)
		}
		synctest.Wait()
		if got := w.group.Cleanups(); got != 3 {
			t.Errorf("%d cleanups", got)
		}
		wg.Wait()
		w.rest(time.Second)
		w.empty()
		expect(t, a.release(), "a release when all is gone", round.Gone, 0)
	})
}

// A vague node has a name that says nothing to people.
type vague struct {
	backend.Node
	address atomic.Pointer[string]
}

func (v *vague) Name() string { return fmt.Sprintf("%p", v) }

func (v *vague) Address() (string, bool) {
	if address := v.address.Load(); address != nil {
		return *address, true
	}
	return "", true
}

// Texts call a node by its position and address if its name says nothing.
func TestNodeByPosition(t *testing.T) {
	one, other := &vague{Node: memory.New()}, &vague{Node: memory.New()}
	g, err := NewNodes([]backend.Node{one, memory.New(memory.WithName("a")), other}, Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := "10.0.0.3:6379"
	other.address.Store(&address)
	for i, want := range []string{"node 0", "a", "node 2 (10.0.0.3:6379)"} {
		if _, name := g.Node(i); name != want {
			t.Errorf("node %d is called %q, want %q", i, name, want)
		}
	}
	address2 := "10.0.0.4:6379"
	other.address.Store(&address2)
	if _, name := g.Node(2); name != "node 2 (10.0.0.4:6379)" {
		t.Errorf("at another address node 2 is called %q", name)
	}
	if _, err := NewNodes([]backend.Node{one, one}, Config{}, nil); err == nil || !strings.Contains(err.Error(), "node 1") {
		t.Errorf("the same node twice: %v, want an error that calls it by its position", err)
	}
}
