package work

import (
	"slices"
	"time"
)

// A Plan has the sizes and durations of everything.
type Plan struct {
	Nodes []int // numbers of nodes, without contention

	Rounds int           // of idle pairs and of distinct keys
	Pairs  int           // idle pairs in a slice
	Slice  time.Duration // of distinct keys

	CoreNodes  []int // numbers of nodes, with client and servers on chosen cores
	CoreRounds int

	ContendedNodes []int // numbers of nodes, with contention
	Clients        []int // numbers of clients of one key
	Hold           time.Duration
	DrainRounds    int
	Patience       time.Duration // after this time, a waiter counts as left waiting
	LoopClients    []int         // numbers of clients in a loop
	LoopRounds     int
	Loop           time.Duration
	FarClients     int // one of which is farther away
	Far            time.Duration
	LongHold       time.Duration

	HungRounds int
	Hung       time.Duration // how long a node hangs in a slice

	Distances      []time.Duration
	DistanceNodes  []int
	DistanceRounds int
	DistanceSlice  time.Duration // longer, because a pair takes longer

	HeldNodes []int
	Locks     int // held at once
	TTL       time.Duration
	Watch     time.Duration
}

// Full is the plan for published figures.
func Full() Plan {
	return Plan{
		Nodes:  []int{1, 3, 5},
		Rounds: 21, Pairs: 300, Slice: 200 * time.Millisecond,

		CoreNodes: []int{1}, CoreRounds: 7,

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

// Quick is the plan for a quick look, in less than a minute.
func Quick() Plan {
	p := Full()
	p.Nodes = []int{1, 3}
	p.Rounds, p.Pairs, p.Slice = 3, 100, 40*time.Millisecond
	p.Clients, p.FarClients = []int{2, 6}, 6
	p.CoreRounds = 1
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
	p.Rounds, p.CoreRounds, p.DrainRounds, p.LoopRounds, p.HungRounds, p.DistanceRounds = n, n, n, n, n, n
	return p
}

// WithSlice returns the plan with slices of d for everything that is measured by time.
func (p Plan) WithSlice(d time.Duration) Plan {
	p.Slice, p.Loop, p.Hung, p.DistanceSlice = d, d, d, d
	return p
}

// WithNodes returns the plan with only those of its numbers of nodes that are in the list.
func (p Plan) WithNodes(wanted []int) Plan {
	for _, list := range []*[]int{&p.Nodes, &p.CoreNodes, &p.ContendedNodes, &p.DistanceNodes, &p.HeldNodes} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(n int) bool { return !slices.Contains(wanted, n) })
	}
	return p
}

// Servers returns the number of servers that the plan needs.
func (p Plan) Servers() int {
	return slices.Max(slices.Concat(p.Nodes, p.CoreNodes, p.ContendedNodes, p.DistanceNodes, p.HeldNodes, []int{hungNodes}))
}
