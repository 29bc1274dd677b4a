package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/work"
)

// settings are the settings of the command line.
type settings struct {
	plan        work.Plan
	whole       bool // everything is measured, in full length
	work, impl  *regexp.Regexp
	csv, svg    string
	page        string
	draw        []string // files whose results are drawn
	bars, list  bool
	addrs       []string
	cpu, allocs string // files for profiles
}

// parse reads the command line. It writes errors and the usage to w.
func parse(args []string, w io.Writer) (settings, error) {
	s := settings{work: regexp.MustCompile(""), impl: regexp.MustCompile("")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(w)
	quick := f.Bool("quick", false, "take less than a minute: fewer rounds, nodes and clients")
	rounds := f.Int("rounds", 0, "repeat each work `N` times, in turn with the others; 0: as the plan says")
	seconds := f.Float64("seconds", 0, "let a slice last for `S` seconds, where it is measured by time; 0: as the plan says")
	locks := f.Int("locks", 0, "hold `N` locks in the work held; 0: as the plan says")
	var nodes []int
	f.Func("nodes", "only these numbers of nodes, as `1,3,5`", func(text string) error {
		for _, field := range strings.Split(text, ",") {
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of nodes", field)
			}
			nodes = append(nodes, n)
		}
		return nil
	})
	f.Func("work", "only works whose name matches the `REGEXP`; see -list", pattern(&s.work))
	f.Func("impl", "only implementations whose name matches the `REGEXP`; see -list", pattern(&s.impl))
	f.StringVar(&s.csv, "csv", "", "write the results to `FILE`: work, nodes, clients, implementation, metric, value")
	f.StringVar(&s.svg, "svg", "", "write a chart to `FILE`")
	f.StringVar(&s.page, "page", "", "write the results into the tables of `FILE`, such as docs/performance.md")
	f.Func("draw", "measure nothing, and draw the chart (-svg) or fill in the page (-page) from what -csv wrote to `FILE,…`", func(text string) error {
		s.draw = strings.Split(text, ",")
		return nil
	})
	f.BoolVar(&s.bars, "bars", false, "judge the results by what this library is to reach, and exit with 1 if anything is missed")
	f.BoolVar(&s.list, "list", false, "print the works and implementations, and measure nothing")
	f.Func("addrs", "use the servers at `HOST:PORT,…`, which must serve nothing else meanwhile", func(text string) error {
		s.addrs = strings.Split(text, ",")
		return nil
	})
	f.StringVar(&s.cpu, "cpuprofile", "", "write a CPU profile of all that runs to `FILE`")
	f.StringVar(&s.allocs, "memprofile", "", "write a profile of all allocations to `FILE`")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(w, err)
		return s, err
	}
	if s.draw != nil && s.svg == "" && s.page == "" {
		err := errors.New("-draw needs -svg FILE or -page FILE")
		fmt.Fprintln(w, err)
		return s, err
	}

	s.plan = work.Full()
	if *quick {
		s.plan = work.Quick()
	}
	if *rounds > 0 {
		s.plan = s.plan.WithRounds(*rounds)
	}
	if *seconds > 0 {
		s.plan = s.plan.WithSlice(time.Duration(*seconds * float64(time.Second)))
	}
	if *locks > 0 {
		s.plan.Locks = *locks
	}
	if nodes != nil {
		s.plan = s.plan.WithNodes(nodes)
	}
	s.whole = !*quick && *locks == 0 && nodes == nil && s.work.String() == "" && s.impl.String() == "" && len(s.addrs) == 0
	return s, nil
}

// pattern returns a flag setter that stores a regular expression.
func pattern(into **regexp.Regexp) func(string) error {
	return func(text string) error {
		re, err := regexp.Compile(text)
		if err == nil {
			*into = re
		}
		return err
	}
}
