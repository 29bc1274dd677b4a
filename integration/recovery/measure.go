package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// The durations of the parts of a measurement.
const (
	calm      = 2 * time.Second       // before the fault
	atLeast   = time.Second           // commands are counted for at least this long
	tooLong   = 45 * time.Second      // after this time, a lock counts as not recovered
	afterward = ttl + 2*time.Second   // until a lock that is not extended is lost
	lag       = 50 * time.Millisecond // until the client's messages have arrived
)

// A result is one row of the table.
type result struct {
	note         string
	first, all   time.Duration // until the first caller, and until all callers, had a new lock; negative: tooLong
	failed       int           // calls of Lock that failed
	unfreed      int           // calls of Unlock that failed
	held         string        // what happened to the held lock
	before, then load
	goroutines   [2]int
	sockets      [2]int // of the client
	connections  [2]int // at the servers
}

// survived is the best outcome for a held lock.
const survived = "survived"

// A load is what the servers counted, per second.
type load struct{ commands, connections float64 }

// measure makes a fault hit an adapter's servers. It waits for afterward, unless it must be
// quick. In that case it does not know whether the held lock survives.
func measure(t *scope, d drivers.Driver, f fault, quick bool) result {
	var r result
	scene := f.stage(t)
	to := scene.target
	to.Adapter = d.Name
	c := startClient(t, to)
	calm := calm
	if quick {
		calm /= 10
	}
	c.during(calm / 2) // warm-up
	e := c.ask(counted)
	r.goroutines[0], r.sockets[0], r.connections[0] = e.N, e.Sockets, connections(t, scene.servers)
	c.during(calm / 2)

	start, count := time.Now(), take(t, scene.servers)
	c.during(calm)
	r.before = take(t, scene.servers).since(count).per(time.Since(start))

	start, count = time.Now(), take(t, scene.servers)
	struck := time.Now()
	m := scene.hit()
	r.note = m.note
	c.during(lag)
	for c.recovered(m) < callers && time.Since(m.zero) < tooLong {
		c.during(lag)
	}
	c.during(time.Until(m.zero.Add(atLeast)))
	if m.outage() {
		start = m.zero // from here on there is a server that counts
	}
	r.then = take(t, scene.servers).since(count).per(time.Since(start))
	r.first, r.all = c.recovery(m)

	if !quick {
		c.during(time.Until(m.zero.Add(afterward)))
	}
	for _, e := range c.fails {
		switch {
		case e.End.Before(struck):
		case e.What == failed:
			r.failed++
		default:
			r.unfreed++
		}
	}
	e = c.ask(counted)
	r.goroutines[1], r.sockets[1], r.connections[1] = e.N, e.Sockets, connections(t, scene.servers)
	switch e = c.ask(ended); {
	case c.lost != nil:
		r.held = "lost after " + short(c.lost.End.Sub(m.begun))
	case e.Err != "":
		r.held = "lost unnoticed: " + e.Err
	default:
		r.held = survived
	}
	return r
}

// news returns the time at which each caller first had a new lock.
func (c *client) news(m moments) map[int]time.Time {
	first := map[int]time.Time{}
	for _, e := range c.locks {
		if _, ok := first[e.Caller]; !ok && (e.Start.After(m.begun) || m.outage() && e.End.After(m.zero)) {
			first[e.Caller] = e.End
		}
	}
	return first
}

func (c *client) recovered(m moments) int { return len(c.news(m)) }

// recovery returns the time until the first caller, and until all callers, had a new lock.
func (c *client) recovery(m moments) (first, all time.Duration) {
	news := c.news(m)
	first, all = -1, -1
	for _, at := range news {
		took := max(0, at.Sub(m.zero))
		all = max(all, took)
		if first < 0 || took < first {
			first = took
		}
	}
	if len(news) < callers {
		all = -1
	}
	return first, all
}

// A total is what one server has counted since its start.
type total struct {
	run                   string
	connections, commands int64 // without those of this program
}

// A census contains the counts of several servers.
type census map[*servers.Server]total

// take asks all servers except those that are down.
func take(t *scope, list []*servers.Server) census {
	all := census{}
	for _, s := range list {
		info, err := s.Query(t.ctx, "INFO")
		if err != nil {
			continue
		}
		ownConnections, ownCommands := s.Own()
		n := total{
			connections: field(info, "total_connections_received") - ownConnections,
			commands:    field(info, "total_commands_processed") - ownCommands + 1, // INFO does not count itself
		}
		_, n.run, _ = strings.Cut(fmt.Sprint(info), "run_id:")
		n.run, _, _ = strings.Cut(n.run, "\r\n")
		all[s] = n
	}
	return all
}

// since returns what all servers together have counted since earlier.
func (c census) since(earlier census) (sum total) {
	for s, n := range c {
		if was := earlier[s]; was.run == n.run {
			n.connections -= was.connections
			n.commands -= was.commands
		} // otherwise it was started meanwhile, and began at 0
		sum.connections += max(0, n.connections)
		sum.commands += max(0, n.commands)
	}
	return sum
}

func (n total) per(d time.Duration) load {
	return load{float64(n.commands) / d.Seconds(), float64(n.connections) / d.Seconds()}
}

// field returns a number in a reply to INFO, or 0 if it is missing.
func field(info any, name string) int64 {
	_, after, _ := strings.Cut(fmt.Sprint(info), "\n"+name+":")
	text, _, _ := strings.Cut(after, "\r\n")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// connections returns the number of client connections that the servers list, without those of
// this program and of replicas, masters and sentinels.
func connections(t *scope, list []*servers.Server) int {
	n := 0
	for _, s := range list {
		answer, err := s.Query(context.WithoutCancel(t.ctx), "CLIENT", "LIST")
		if err != nil {
			continue // the server is down
		}
		for line := range strings.Lines(fmt.Sprint(answer)) {
			f := map[string]string{}
			for _, word := range strings.Fields(line) {
				name, value, _ := strings.Cut(word, "=")
				f[name] = value
			}
			if !strings.ContainsAny(f["flags"], "MS") && !strings.HasPrefix(f["name"], "sentinel-") && f["cmd"] != "client|list" && f["cmd"] != "client" {
				n++
			}
		}
	}
	return n
}
