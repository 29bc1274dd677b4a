// Command recovery measures how the locks of one adapter of each family recover from faults. It
// starts redis-server or valkey-server from PATH and writes the table of docs/recovery.md.
//
//	go run ./recovery                                  # all, in about three minutes
//	go run ./recovery -adapter rueidis -fault Cluster  # some
//	go run ./recovery -md ../docs/recovery.md          # and puts the table into the page
//	go run ./recovery -list                            # the names
//	go run ./recovery -picture ../docs/outage.svg      # draws what happens when a server dies
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

func main() {
	if where := os.Getenv(clientVariable); where != "" {
		if err := runClient(where); err != nil {
			fmt.Fprintln(os.Stderr, "recovery: client:", err)
			os.Exit(1)
		}
		return
	}
	adapter := flag.String("adapter", "", "only adapters whose name matches this `regexp`")
	which := flag.String("fault", "", "only faults whose name matches this `regexp`")
	page := flag.String("md", "", "put the table into this `file`, between its markers")
	rounds := flag.Int("rounds", 1, "measure so many `times`, and show the worst of each")
	parallel := flag.Int("parallel", 6, "how many `measurements` run at the same time")
	list := flag.Bool("list", false, "print the names of all faults, and end")
	image := flag.String("picture", "", "measure nothing; kill a server, and draw what happens into this SVG `file`")
	flag.Parse()
	if *list {
		for _, f := range faults {
			fmt.Println(f.name)
		}
		return
	}
	// Members of a Sentinel set and replicas must reach each other on loopback.
	os.Setenv("QUORUMLOCK_RUNG", "processes")
	os.Exit(servers.Run(func() int {
		if *image != "" {
			if err := picture(*image); err != nil {
				fmt.Fprintln(os.Stderr, "recovery:", err)
				return 1
			}
			return 0
		}
		if err := run(*adapter, *which, *page, *rounds, *parallel); err != nil {
			fmt.Fprintln(os.Stderr, "recovery:", err)
			return 1
		}
		return 0
	}))
}

// run measures what the flags select, and writes the table into page, or to standard output if
// page is empty.
func run(adapter, which, page string, rounds, parallel int) error {
	if page != "" && adapter+which != "" {
		return errors.New("-md needs all measurements: leave out -adapter and -fault")
	}
	adapters, err := regexp.Compile(adapter)
	if err != nil {
		return err
	}
	wanted, err := regexp.Compile(which)
	if err != nil {
		return err
	}
	list := drivers.OfEachFamily
	if adapter != "" {
		list = drivers.All
	}
	var cells []cell
	for _, f := range faults {
		for _, d := range list {
			if adapters.MatchString(d.Name) && wanted.MatchString(f.name) && (f.needs == nil || f.needs(d)) {
				cells = append(cells, cell{adapter: d, fault: f})
			}
		}
	}
	if len(cells) == 0 {
		return errors.New("nothing matches")
	}
	worst := measureAll(cells, parallel, os.Stderr)
	for range rounds - 1 {
		for i, c := range measureAll(cells, parallel, os.Stderr) {
			if c.worse(worst[i]) {
				worst[i] = c
			}
		}
	}

	var errs []error
	for _, c := range worst {
		if c.err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", c, c.err))
		}
	}
	text := table(worst, rounds, servers.Kinds(&scope{})[0])
	if page == "" {
		fmt.Print(text)
	} else if errs == nil {
		return replace(page, text)
	}
	return errors.Join(errs...)
}

// A cell is one adapter and one fault.
type cell struct {
	adapter drivers.Driver
	fault   fault
	quick   bool
	result  result
	err     error
}

func (c cell) String() string { return c.adapter.Name + ": " + c.fault.name }

// worse reports whether the result is worse than another one of the same measurement: it failed,
// a lock was lost, or it took longer.
func (c cell) worse(than cell) bool {
	rank := func(c cell) (int, time.Duration) {
		switch {
		case c.err != nil:
			return 3, 0
		case c.result.all < 0:
			return 2, 0
		case c.result.held != survived:
			return 1, c.result.all
		}
		return 0, c.result.all
	}
	mine, took := rank(c)
	other, tookOther := rank(than)
	return mine > other || mine == other && took > tookOther
}

// measureAll measures copies of cells, that many at the same time, and reports what it has done.
func measureAll(cells []cell, parallel int, progress io.Writer) []cell {
	cells = slices.Clone(cells)
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := make(chan *cell)
	for range max(1, parallel) {
		wg.Go(func() {
			for c := range next {
				c.err = within(c.String(), func(t *scope) { c.result = measure(t, c.adapter, c.fault, c.quick) })
				mu.Lock()
				fmt.Fprintf(progress, "%v: first %s, all %s\n", c, recovered(c.result.first), recovered(c.result.all))
				mu.Unlock()
			}
		})
	}
	for i := range cells {
		next <- &cells[i]
	}
	close(next)
	wg.Wait()
	return cells
}
