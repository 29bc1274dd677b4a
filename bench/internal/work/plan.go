package work

import (
	"slices"
	"time"
)

// A Plan says how long everything takes.
type Plan struct {
	Nodes []int // numbers of nodes, without contention

	Rounds int           // of idle pairs and of distinct keys
	Pairs  int           // idle pairs in a slice
	Slice  time.Duration // of distinct keys

	ContendedNodes []int // numbers of nodes, with contention
	Clients        []int // numbers of clients of one key
	Hold           time.Duration
	DrainRounds    int
	Patience       time.Duration // after which who still waits is left waiting
	LoopClients    []int         // numbers of clients that come back
	LoopRounds     int
	Loop           time.Duration
	FarClients     int // of which one is further away
	Far            time.Duration
	LongHold       time.Duration

	HungRounds int
	Hung       time.Duration // how long a node hangs in a slice

	Distances      []time.Duration
	DistanceNodes  []int
	DistanceRounds int
	DistanceSlice  time.Duration // more where a pair takes long

	HeldNodes []int
	Locks     int // held at once
	TTL       time.Duration
	Watch     time.Duration
}

// Full is the plan for figures that are published.
func Full() Plan {
	return Plan{
		Nodes:  []int{1, 3, 5},
		Rounds: 21, Pairs: 300, Slice: 200 * time.Millisecond,

		ContendedNodes: []int{1, 3},
		Clients:        []int{2, 16, 64},
		Hold:           time.Millisecond,
		DrainRounds:    7, Patience: 30 * time.Second,
		LoopClients: []int{2, 3, 16, 64}, LoopRounds: 2, Loop: 3 * time.Second,
		FarClients: 16, Far: 5 * time.Millisecond,
		LongHold: 5 * time.Second,

		HungRounds: 3, Hung: time.Second,

		Distances:      []time.Duration{time.Millisecond, 20 * time.Millisecond},
		DistanceNodes:  []int{1, 3},
		DistanceRounds: 3, DistanceSlice: 100 * time.Millisecond,

		HeldNodes: []int{1, 3},
		Locks:     100_000, TTL: 10 * time.Second, Watch: 25 * time.Second,
	}
}

// Quick is the plan for a look, in less than a minute.
func Quick() Plan {
	p := Full()
	p.Nodes = []int{1, 3}
	p.Rounds, p.Pairs, p.Slice = 3, 100, 40*time.Millisecond
	p.Clients, p.FarClients = []int{2, 6}, 6
	p.DrainRounds, p.Patience = 1, 5*time.Second
	p.LoopClients = []int{3, 6}
	p.LoopRounds, p.Loop, p.LongHold = 1, 200*time.Millisecond, 200*time.Millisecond
	p.HungRounds, p.Hung = 1, 100*time.Millisecond
	p.Distances, p.DistanceNodes = []time.Duration{time.Millisecond}, []int{1}
	p.DistanceRounds, p.DistanceSlice = 1, 50*time.Millisecond
	p.Locks, p.TTL, p.Watch = 2_000, 1500*time.Millisecond, time.Second
	return p
}

// WithRounds returns the plan with n rounds of everything that has rounds.
func (p Plan) WithRounds(n int) Plan {
	p.Rounds, p.DrainRounds, p.LoopRounds, p.HungRounds, p.DistanceRounds = n, n, n, n, n
	return p
}

// WithSlice returns the plan with slices of d where they are measured by time.
func (p Plan) WithSlice(d time.Duration) Plan {
	p.Slice, p.Loop, p.Hung, p.DistanceSlice = d, d, d, d
	return p
}

// WithNodes returns the plan with those of its numbers of nodes that are wanted.
func (p Plan) WithNodes(wanted []int) Plan {
	for _, list := range []*[]int{&p.Nodes, &p.ContendedNodes, &p.DistanceNodes, &p.HeldNodes} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(n int) bool { return !slices.Contains(wanted, n) })
	}
	return p
}

// Servers returns how many servers the plan needs.
func (p Plan) Servers() int {
	return slices.Max(slices.Concat(p.Nodes, p.ContendedNodes, p.DistanceNodes, p.HeldNodes, []int{hungNodes}))
}
