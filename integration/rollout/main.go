// Command rollout replaces redsync by Quorumlock in a fleet under load, one process at a time, and
// prints how many locks of one busy key each process gets. It starts redis-server or
// valkey-server from PATH.
//
//	go run ./rollout                                  # the change that docs/migrating/rollout.md describes, in 90 s
//	go run ./rollout -without                         # without the transition: redsync starves
//	go run ./rollout -md ../docs/migrating/rollout.md # both, and puts the tables into the page
//
// Each process of the fleet is simulated by one goroutine with clients of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
)

func main() {
	s := scale{members: 4, phase: 10 * time.Second, hold: 40 * time.Millisecond}
	flag.IntVar(&s.members, "members", s.members, "how many `processes` the fleet has")
	flag.DurationVar(&s.phase, "phase", s.phase, "the `time` from one replacement to the next")
	flag.DurationVar(&s.hold, "hold", s.hold, "how `long` a process holds the lock")
	without := flag.Bool("without", false, "replace redsync by callers that queue, without the transition")
	page := flag.String("md", "", "put the tables of both ways into this `file`, between its markers")
	flag.Parse()
	if s.members < 2 || s.phase <= 0 || s.hold <= 0 {
		fmt.Fprintln(os.Stderr, "rollout: -members must be at least 2, -phase and -hold positive")
		os.Exit(2)
	}
	if os.Getenv("QUORUMLOCK_RUNG") == "" {
		os.Setenv("QUORUMLOCK_RUNG", "processes")
	}
	os.Exit(servers.Run(func() int {
		if err := run(s, *without, *page); err != nil {
			fmt.Fprintln(os.Stderr, "rollout:", err)
			return 1
		}
		return 0
	}))
}

// run measures one way, or both for a page.
func run(s scale, without bool, page string) error {
	if page == "" {
		way := transition(s.members)
		if without {
			way = direct(s.members)
		}
		text, err := measure(s, way)
		fmt.Print(text)
		return err
	}
	for name, way := range map[string][]phase{"rollout": transition(s.members), "rollout -without": direct(s.members)} {
		text, err := measure(s, way)
		if err != nil {
			return err
		}
		if err := replace(page, name, text); err != nil {
			return err
		}
	}
	return nil
}

// measure runs the phases on one server and returns their table.
func measure(s scale, way []phase) (text string, err error) {
	server, stop, err := oneServer()
	if err != nil {
		return "", err
	}
	defer stop()
	results, err := change(context.Background(), server, s, way)
	return table(results, s), err
}

// oneServer starts a server. It must be stopped.
func oneServer() (addr string, stop func(), err error) {
	h := &holder{}
	done := make(chan struct{})
	go func() { // Fatal ends it
		defer close(done)
		addr = servers.Start(h, servers.Any, 1)[0].Addr()
	}()
	<-done
	return addr, h.end, h.err
}

// A phase says what each process of the fleet is, for one span of time.
type phase []kind

// transition replaces redsync by callers that poll and then queue, one process at a time, and
// these by callers that queue.
func transition(members int) []phase {
	return append(replacing(members, redsyncs, changing), replacing(members, changing, queueing)[1:]...)
}

// direct replaces redsync by callers that queue, one process at a time.
func direct(members int) []phase { return replacing(members, redsyncs, queueing) }

// replacing replaces one process in each phase after the first.
func replacing(members int, from, to kind) []phase {
	var all []phase
	for replaced := range members + 1 {
		p := make(phase, members)
		for i := range p {
			p[i] = from
			if i < replaced {
				p[i] = to
			}
		}
		all = append(all, p)
	}
	return all
}

// The lines around a table in the page.
func begin(name string) string { return "<!-- begin: go run ./" + name + " -->\n" }
func end(name string) string   { return "<!-- end: go run ./" + name + " -->\n" }

// replace writes text between the markers of a file.
func replace(file, name, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), begin(name))
	_, after, ok2 := strings.Cut(rest, end(name))
	if !ok || !ok2 {
		return fmt.Errorf("%s does not have the lines %q and %q", file, begin(name), end(name))
	}
	return os.WriteFile(file, []byte(before+begin(name)+text+end(name)+after), 0o644)
}
