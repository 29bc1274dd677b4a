package work

import (
	"context"
	"errors"
	"runtime"
	"slices"

	"github.com/quorumlock/quorumlock/bench/internal/core"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// A layout says which cores the client and the servers use.
type layout struct {
	work            string
	client, servers []int // places in the list of the cores that this process may use
}

var layouts = []layout{
	{"distinct-one-core", []int{0}, []int{0}},
	{"distinct-two-cores", []int{0, 1}, []int{0, 1}},
	{"distinct-apart", []int{0}, []int{1}},
}

var cores = Work{
	Name: "cores",
	About: "The work distinct on one node, with this library and the drivers alone: client and server on one core, on the same two cores, and on a core each. " +
		"The idle shares say which of them limits the rate.",
	Run: func(ctx context.Context, b *Bench) error {
		all := b.Implementations
		defer func() { b.Implementations = all }()
		b.Implementations = slices.DeleteFunc(slices.Clone(all), func(i *peer.Implementation) bool {
			return i.Library != peer.Own && i.Library != peer.Fenced && i.Library != peer.Raw && i.Library != peer.Gathered
		})
		for _, l := range layouts {
			for _, nodes := range b.sizes(b.Plan.CoreNodes) {
				err := b.pinned(ctx, l, nodes)
				if errors.Is(err, errors.ErrUnsupported) {
					b.note("%s, %d nodes: not measured: %v", l.work, nodes, err)
					continue
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	},
}

// pinned does the work distinct in a layout.
func (b *Bench) pinned(ctx context.Context, l layout, nodes int) (err error) {
	processes, err := server.Processes(b.Servers)
	if err != nil {
		return errors.Join(errors.ErrUnsupported, err)
	}
	own, err := core.Pin(core.Self, l.client)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own()) }()
	for _, p := range processes {
		back, err := core.Pin(p, l.servers)
		if err != nil {
			return err
		}
		defer back()
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(l.client)))
	return b.distinct(ctx, l.work, server.Addrs(b.Servers[:nodes]), b.Plan.CoreRounds, b.Plan.Slice)
}
