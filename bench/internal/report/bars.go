package report

import (
	"fmt"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/work"
)

var drivers = []string{"go-redis", "redigo", "rueidis"}

// Bars lists the goals of this library.
func Bars() []Bar {
	var all []Bar
	for _, list := range []func(driver string) []Bar{idle, several, distinct, drain, commands, fairness, hung, held, failures, fencing, shared} {
		for _, driver := range drivers {
			all = append(all, list(driver)...)
		}
	}
	return all
}

// cell returns the cell of one implementation in one work.
func cell(work string, nodes, clients int, library, driver string) measure.Cell {
	return measure.Cell{Work: work, Nodes: nodes, Clients: clients, Implementation: library + "/" + driver}
}

// of returns the keys of one metric for several libraries with a driver.
func of(metric, work string, nodes, clients int, driver string, libraries ...string) []measure.Key {
	var keys []measure.Key
	for _, library := range libraries {
		keys = append(keys, measure.Key{Cell: cell(work, nodes, clients, library, driver), Metric: metric})
	}
	return keys
}

// own returns the key of a metric for this library.
func own(metric, work string, nodes, clients int, driver string) measure.Key {
	return of(metric, work, nodes, clients, driver, peer.Own)[0]
}

// redsyncs are both ways to use redsync, of which the better one counts.
var redsyncs = []string{peer.Redsync, peer.RedsyncFailFast}

func idle(driver string) []Bar {
	bars := []Bar{{
		About: fmt.Sprintf("idle pair, N=1, %s: time", driver),
		Of:    own(measure.Time, "idle", 1, 1, driver), Than: of(measure.Time, "idle", 1, 1, driver, peer.Raw), Limit: 1.15,
	}}
	for _, nodes := range []int{3, 5} {
		bars = append(bars, Bar{
			About: fmt.Sprintf("idle pair, N=%d, %s: time", nodes, driver),
			Of:    own(measure.Time, "idle", nodes, 1, driver), Than: of(measure.Time, "idle", nodes, 1, driver, redsyncs...), Limit: 0.90,
		}, Bar{
			About: fmt.Sprintf("idle pair, N=%d, %s: allocations", nodes, driver),
			Of:    own(measure.Allocs, "idle", nodes, 1, driver), Than: of(measure.Allocs, "idle", nodes, 1, driver, redsyncs...), Limit: 0.6,
		})
	}
	return bars
}

// several are bars on LockAll: how much longer it takes for several free keys than for one.
func several(driver string) []Bar {
	var bars []Bar
	for _, nodes := range []int{1, 3} {
		bars = append(bars, Bar{
			About: fmt.Sprintf("lock of %d free keys together, N=%d, %s: time ÷ that of one", work.SeveralKeys, nodes, driver),
			Of:    own(measure.LockMiddle, "several", nodes, work.SeveralKeys, driver),
			Than:  []measure.Key{own(measure.LockMiddle, "several", nodes, 1, driver)}, Limit: 1.5,
		})
	}
	return bars
}

func distinct(driver string) []Bar {
	var bars []Bar
	than := func(nodes int, limit float64, driver string, libraries ...string) {
		bars = append(bars, Bar{
			About: fmt.Sprintf("64 goroutines, distinct keys, N=%d, %s: pairs/s", nodes, driver),
			Of:    own(measure.Rate, "distinct", nodes, 64, driver), Than: of(measure.Rate, "distinct", nodes, 64, driver, libraries...),
			AtLeast: true, Limit: limit,
		})
	}
	than(1, 1.1, driver, peer.Raw)
	bars[0].About += ", the driver's own two commands"
	than(1, map[string]float64{"go-redis": 2.2, "redigo": 1.8, "rueidis": 1.4}[driver], driver, redsyncs...)
	than(3, 4, driver, redsyncs...)
	than(5, 5, driver, redsyncs...)
	for _, lone := range []struct{ library, driver string }{{peer.Redislock, "go-redis"}, {peer.Rueidislock, "rueidis"}} {
		if lone.driver == driver {
			than(1, 1.5, driver, lone.library)
			bars[len(bars)-1].About += ", other libraries"
		}
	}
	for _, nodes := range []int{1, 3, 5} {
		limit := 0.75
		if nodes > 1 {
			limit = 0.8
		}
		bars = append(bars, Bar{
			About: fmt.Sprintf("64 goroutines, distinct keys, N=%d, %s: pairs/s, the ceiling", nodes, driver),
			Of:    own(measure.Rate, "distinct", nodes, 64, driver), Than: ceilings(measure.Rate, nodes, driver),
			AtLeast: true, Limit: limit,
		})
	}
	return append(bars, Bar{
		About: fmt.Sprintf("64 goroutines, distinct keys, N=1, %s: client's CPU, the ceiling", driver),
		Of:    own(measure.CPU, "distinct", 1, 64, driver), Than: ceilings(measure.CPU, 1, driver), Best: measure.Rate, Limit: 2,
	}, Bar{
		About: fmt.Sprintf("64 goroutines, distinct keys, N=1, %s: allocations", driver),
		Of:    own(measure.Allocs, "distinct", 1, 64, driver), Than: of(measure.Allocs, "distinct", 1, 64, driver, peer.Raw),
		Beyond: true, Limit: 6,
	})
}

// ceilings returns the keys of one metric for every width of a driver's ceiling.
func ceilings(metric string, nodes int, driver string) []measure.Key {
	var keys []measure.Key
	for _, width := range work.Widths {
		key := own(metric, "distinct", nodes, 64, driver)
		key.Implementation = work.CeilingName(driver, width)
		keys = append(keys, key)
	}
	return keys
}

func drain(driver string) []Bar {
	bars := []Bar{{
		About: fmt.Sprintf("drain of 64 clients, hold 1 ms, N=1, %s: time", driver),
		Of:    own(measure.Drain, "drain", 1, 64, driver), Than: of(measure.Drain, "drain", 1, 64, "rueidis", peer.Rueidislock), Limit: 0.6,
	}, {
		About: fmt.Sprintf("drain of 16 clients, hold 1 ms, N=3, %s: time", driver),
		Of:    own(measure.Drain, "drain", 3, 16, driver), Than: of(measure.Drain, "drain", 3, 16, "go-redis", redsyncs...), Limit: 0.25,
	}}
	for _, nodes := range []int{1, 3} {
		bars = append(bars, Bar{
			About: fmt.Sprintf("drain of 64 clients, hold 1 ms, N=%d, %s: clients left waiting", nodes, driver),
			Of:    own(measure.Left, "drain", nodes, 64, driver), Limit: 0,
		})
	}
	return bars
}

// commands are bars on the cost of a waiter, with many waiters compared with two. Of three
// clients in a loop, two wait. In a drain each client waits once, except the first one, which
// costs almost nothing. With few clients, this effect is large.
func commands(driver string) []Bar {
	var bars []Bar
	for _, nodes := range []int{1, 3} {
		limit := 1.2
		if nodes > 1 {
			limit = 1.6
		}
		for _, w := range []struct {
			work, about string
			few         int
		}{
			{"handoff", "per acquisition and node, closed loop", 3},
			{"long-hold", "per waiter and node, long hold", 2},
		} {
			bars = append(bars, Bar{
				About: fmt.Sprintf("commands %s, N=%d, %s: with 64 waiters ÷ with 2", w.about, nodes, driver),
				Of:    own(measure.Commands, w.work, nodes, 64, driver), Than: []measure.Key{own(measure.Commands, w.work, nodes, w.few, driver)}, Limit: limit,
			})
		}
	}
	return bars
}

func fairness(driver string) []Bar {
	var bars []Bar
	for _, nodes := range []int{1, 3} {
		for _, w := range []struct{ work, about string }{{"handoff", "all alike"}, {"handoff-far", "one 5 ms further away"}} {
			bars = append(bars, Bar{
				About: fmt.Sprintf("Jain's index, 16 clients for 3 s, %s, N=%d, %s", w.about, nodes, driver),
				Of:    own(measure.Fairness, w.work, nodes, 16, driver), AtLeast: true, Limit: 0.97,
			})
		}
	}
	return bars
}

func hung(driver string) []Bar {
	var bars []Bar
	for _, m := range []struct{ metric, about string }{{measure.LockTail, "lock"}, {measure.UnlockTail, "unlock"}} {
		bars = append(bars, Bar{
			About: fmt.Sprintf("one of three nodes hung, %s: p99 of %s ÷ healthy", driver, m.about),
			Of:    own(m.metric, "hung", 3, 1, driver), Than: []measure.Key{own(m.metric, "healthy", 3, 1, driver)}, Limit: 2,
		})
	}
	return bars
}

func held(driver string) []Bar {
	return []Bar{{
		About: fmt.Sprintf("100 000 held locks that extend themselves, N=1, %s: locks lost", driver),
		Of:    own(measure.Lost, "held", 1, 100_000, driver), Limit: 0,
	}}
}

// fencing are bars on the cost of tokens: compared with the same driver without tokens, and in
// round trips.
func fencing(driver string) []Bar {
	bars := []Bar{{
		About: fmt.Sprintf("idle pair with a fencing token, N=1, %s: time ÷ without", driver),
		Of:    of(measure.Time, "idle", 1, 1, driver, peer.Fenced)[0], Than: of(measure.Time, "idle", 1, 1, driver, peer.Own), Limit: 1.25,
	}}
	if driver == "go-redis" { // one driver is enough under contention
		for _, w := range []struct{ work, about string }{{"handoff", "all alike"}, {"handoff-far", "one 5 ms further away"}} {
			bars = append(bars, Bar{
				About: fmt.Sprintf("fencing tokens in one round trip, 16 clients, %s, N=3, %s: share", w.about, driver),
				Of:    of(measure.OneRound, w.work, 3, 16, driver, peer.Fenced)[0], AtLeast: true, Limit: 0.95,
			})
		}
	}
	return bars
}

// shared are bars on the cost of a shared lock that nobody else has, compared with one that is not shared.
func shared(driver string) []Bar {
	var bars []Bar
	for _, nodes := range []int{1, 3} {
		bars = append(bars, Bar{
			About: fmt.Sprintf("idle pair of a shared lock, N=%d, %s: time ÷ not shared", nodes, driver),
			Of:    of(measure.Time, "idle", nodes, 1, driver, peer.Shared)[0], Than: of(measure.Time, "idle", nodes, 1, driver, peer.Own), Limit: 1.35,
		})
	}
	return bars
}

// failures are bars on calls that fail although a quorum works.
func failures(driver string) []Bar {
	var bars []Bar
	for _, w := range []struct {
		work           string
		nodes, clients int
	}{{"distinct", 1, 64}, {"distinct", 3, 64}, {"distinct", 5, 64}, {"hung", 3, 1}} {
		bars = append(bars, Bar{
			About: fmt.Sprintf("pairs that failed, %s, N=%d, %s", w.work, w.nodes, driver),
			Of:    own(measure.Errors, w.work, w.nodes, w.clients, driver), Limit: 0,
		})
	}
	return bars
}
