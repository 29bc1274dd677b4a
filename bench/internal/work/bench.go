// Package work has the workloads of the benchmark.
package work

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// A Bench is one run of the benchmark: the implementations, the servers, the plan, and the
// results.
type Bench struct {
	Servers         []*server.Server
	Implementations []*peer.Implementation
	Ceilings        []*peer.Ceiling
	Plan            Plan
	Results         *measure.Results
	Notes           []string                         // what went wrong
	Progress        func(format string, args ...any) // receives what is under way

	keys  atomic.Int64          // number of fresh keys so far
	noted map[measure.Cell]bool // cells whose failed pairs have been noted
}

// A Work is one kind of load.
type Work struct {
	Name  string
	About string // what is done, and what the numbers mean
	Run   func(ctx context.Context, b *Bench) error
}

// All lists every work, in the order in which they run.
func All() []Work {
	return []Work{idle, several, distinct, cores, drain, handOff, longHold, hung, distance, held}
}

// note adds a sentence to the end of the report. If there are many errors, it contains only the
// first.
func (b *Bench) note(format string, args ...any) {
	sentence, _, more := strings.Cut(fmt.Sprintf(format, args...), "\n")
	if more {
		sentence += " …"
	}
	b.Notes = append(b.Notes, sentence)
	b.Progress("note: %s", sentence)
}

// noteFailures adds a note about failed pairs, once for each cell.
func (b *Bench) noteFailures(cell measure.Cell, n int64, last any) {
	if n == 0 || b.noted[cell] {
		return
	}
	if b.noted == nil {
		b.noted = map[measure.Cell]bool{}
	}
	b.noted[cell] = true
	b.note("%s, %d nodes, %d clients: %d pairs of %s failed in one round, the last one with: %v",
		cell.Work, cell.Nodes, cell.Clients, n, cell.Implementation, last)
}

// sizes returns the plan's numbers of nodes for which there are servers.
func (b *Bench) sizes(wanted []int) []int {
	var sizes []int
	for _, n := range wanted {
		if n <= len(b.Servers) {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// entrants returns the implementations that can lock on that many nodes.
func (b *Bench) entrants(nodes int) []*peer.Implementation {
	var list []*peer.Implementation
	for _, i := range b.Implementations {
		if nodes == 1 || !i.OneNode {
			list = append(list, i)
		}
	}
	return list
}

// rotation is a list whose members take turns. A member that fails takes no further part.
type rotation[T any] struct {
	list   []T
	out    []bool
	failed func(T, error) // called once for each failed member
}

func newRotation[T any](list []T, failed func(T, error)) *rotation[T] {
	return &rotation[T]{list, make([]bool, len(list)), failed}
}

// run calls f for each member in turn, in that many rounds, each of which begins with another
// member. Only the end of ctx ends it early.
func (r *rotation[T]) run(ctx context.Context, rounds int, f func(T) error) error {
	for round := range rounds {
		for i := range r.list {
			if err := r.turn(ctx, (round+i)%len(r.list), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// shuffle is run with another order each time. It is for calls that are so short that their
// predecessor matters.
func (r *rotation[T]) shuffle(ctx context.Context, rounds int, f func(T) error) error {
	for range rounds {
		for _, at := range rand.Perm(len(r.list)) {
			if err := r.turn(ctx, at, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn calls f for one member, unless it has failed before.
func (r *rotation[T]) turn(ctx context.Context, at int, f func(T) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.out[at] {
		return nil
	}
	err := f(r.list[at])
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	if err != nil {
		r.out[at] = true
		r.failed(r.list[at], err)
	}
	return nil
}

// open makes a client of each implementation, and closeAll closes the existing ones.
func (b *Bench) open(list []*peer.Implementation, cell measure.Cell, addrs []string) (runners []*runner, closeAll func()) {
	for _, i := range list {
		cell.Implementation = i.Name()
		client, err := i.Open(addrs)
		if err != nil {
			b.note("%s, %d nodes: %s cannot be opened: %v", cell.Work, cell.Nodes, i.Name(), err)
			continue
		}
		runners = append(runners, &runner{client, cell})
	}
	return runners, func() {
		for _, r := range runners {
			r.client.Close()
		}
	}
}

// runner is an implementation with its client, and the key of its results.
type runner struct {
	client peer.Client
	cell   measure.Cell
}

// stuck is how much longer than planned a slice may take.
const stuck = 20 * time.Second

// guard closes the client if a slice of length d does not end, so that its calls return errors.
// Call stop when the slice has ended.
func (r *runner) guard(d time.Duration) (stop func()) {
	timer := time.AfterFunc(d+stuck, r.client.Close)
	return func() { timer.Stop() }
}

// dropped notes that an implementation has failed and takes no further part.
func (b *Bench) dropped(cell measure.Cell, err error) {
	b.note("%s, %d nodes, %d clients: %s failed and was left out: %v", cell.Work, cell.Nodes, cell.Clients, cell.Implementation, err)
}

// keyOf returns a key for one cell, so that nothing that a cell leaves behind affects another
// one.
func keyOf(cell measure.Cell, i int) string {
	return fmt.Sprintf("quorumlock-bench:%s:%d:%d:%s:%d", cell.Work, cell.Nodes, cell.Clients, cell.Implementation, i)
}

// freshKey returns a key that no round has used before.
func (b *Bench) freshKey(cell measure.Cell) string {
	return keyOf(cell, int(b.keys.Add(1)))
}
