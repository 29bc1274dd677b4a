// Package report shows measurements as a table, as CSV, as a chart, and compared with the bars.
package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

// Table writes one table for each work, number of nodes and number of clients. It has a line for
// each implementation and a column for each metric, with the medians of the rounds, or the worst
// round if the metric counts failures.
func Table(w io.Writer, r *measure.Results) error {
	type group struct {
		work           string
		nodes, clients int
	}
	var (
		groups          []group
		metrics         = map[group][]string{}
		implementations = map[group][]string{}
	)
	for _, key := range r.Keys() {
		g := group{key.Work, key.Nodes, key.Clients}
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
		if !slices.Contains(metrics[g], key.Metric) {
			metrics[g] = append(metrics[g], key.Metric)
		}
		if !slices.Contains(implementations[g], key.Implementation) {
			implementations[g] = append(implementations[g], key.Implementation)
		}
	}
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s, %s, %s\n", g.work, count(g.nodes, "node"), count(g.clients, cmp.Or(nouns[g.work], "client")))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "\t%s\t\n", strings.Join(metrics[g], "\t"))
		for _, i := range implementations[g] {
			fmt.Fprintf(t, "%s\t", i)
			for _, metric := range metrics[g] {
				text := ""
				if v, ok := r.Value(measure.Key{Cell: measure.Cell{Work: g.work, Nodes: g.nodes, Clients: g.clients, Implementation: i}, Metric: metric}); ok {
					text = Number(v)
				}
				fmt.Fprintf(t, "%s\t", text)
			}
			fmt.Fprintln(t)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// nouns are the names of what a work has several of, if these are not clients.
var nouns = map[string]string{
	"distinct": "goroutine", "distinct-one-core": "goroutine", "distinct-two-cores": "goroutine", "distinct-apart": "goroutine", "held": "lock",
	"several": "key",
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(strconv.Itoa(n)) + " " + noun + "s"
}

// Number writes a number with about three significant digits.
func Number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return fmt.Sprint(v)
	case size >= 100 || v == math.Trunc(v):
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// grouped separates the thousands of a whole number by spaces.
func grouped(digits string) string {
	sign := ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return sign + digits
}
