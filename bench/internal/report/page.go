package report

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
)

// A section of a page is what stands between a line "<!-- figures NAME -->" and the next line
// "<!-- end -->".
var section = regexp.MustCompile(`(?ms)^<!-- figures ([a-z-]+) -->\n.*?^<!-- end -->$`)

// Page returns page with new content in all of its sections. A section without a measurement
// stays as it is. title describes the machine and the servers. The error says which section is
// not known.
func Page(page, title string, r *measure.Results) (string, error) {
	var unknown []string
	page = section.ReplaceAllStringFunc(page, func(old string) string {
		name := section.FindStringSubmatch(old)[1]
		write, ok := sections[name]
		if !ok {
			unknown = append(unknown, name)
			return old
		}
		text := write(title, r)
		if text == "" {
			return old
		}
		return "<!-- figures " + name + " -->\n" + text + "<!-- end -->"
	})
	if unknown != nil {
		return "", fmt.Errorf("there are no figures %s", strings.Join(unknown, ", "))
	}
	return page, nil
}

// sections write the content of each section.
var sections = map[string]func(title string, r *measure.Results) string{
	"machine": func(title string, r *measure.Results) string { return title + ".\n" },
	"idle": func(_ string, r *measure.Results) string {
		return table{
			work: "idle", clients: 1, nodes: []int{1, 3, 5},
			libraries: []string{peer.Own, peer.Fenced, peer.Shared, peer.Raw, peer.Redsync, peer.RedsyncFailFast},
			metrics:   []column{{measure.Time, "µs"}, {measure.CPU, "CPU, µs"}, {measure.Allocs, "allocations"}, {measure.Bytes, "bytes"}},
		}.write(r)
	},
	"loaded": func(_ string, r *measure.Results) string {
		return table{
			work: "distinct", clients: 64, nodes: []int{1, 3, 5},
			libraries: []string{peer.Own, peer.Fenced, peer.Raw, peer.Redsync, peer.RedsyncFailFast, peer.Redislock, peer.Rueidislock, peer.Gathered, peer.CeilingName},
			metrics:   loaded,
		}.write(r)
	},
	"one-core":  func(_ string, r *measure.Results) string { return layout("distinct-one-core", r) },
	"two-cores": func(_ string, r *measure.Results) string { return layout("distinct-two-cores", r) },
	"apart":     func(_ string, r *measure.Results) string { return layout("distinct-apart", r) },
	"drain": func(_ string, r *measure.Results) string {
		return table{
			work: "drain", clients: 64, nodes: []int{1, 3},
			libraries: []string{peer.Own, peer.Fenced, peer.Redsync, peer.RedsyncFailFast, peer.Redislock, peer.Rueidislock},
			metrics:   []column{{measure.Drain, "ms"}, {measure.LongestWait, "longest wait, ms"}, {measure.Commands, "commands"}},
		}.write(r)
	},
	"bars": func(_ string, r *measure.Results) string { return barTable(Bars(), r) },
}

var loaded = []column{
	{measure.Rate, "pairs/s"}, {measure.CPU, "client's CPU, µs"}, {measure.ServerCPU, "servers' CPU, µs"}, {measure.Allocs, "allocations"},
	{measure.Bytes, "bytes"},
}

func layout(work string, r *measure.Results) string {
	return table{
		work: work, clients: 64, nodes: []int{1}, libraries: []string{peer.Own, peer.Fenced, peer.Raw, peer.Gathered, peer.CeilingName},
		metrics: []column{
			{measure.Rate, "pairs/s"}, {measure.CPU, "client's CPU, µs"}, {measure.ServerCPU, "server's CPU, µs"},
			{measure.ClientIdle, "client idle"}, {measure.ServerIdle, "server idle"},
		},
	}.write(r)
}

// A table has a row for each implementation and number of nodes.
type table struct {
	work      string
	clients   int
	nodes     []int
	libraries []string
	metrics   []column
}

// missing stands for a number that was not measured.
const missing = "–"

// A column is a metric and its heading.
type column struct{ metric, name string }

// write returns the table in Markdown, "" if nothing was measured.
func (t table) write(r *measure.Results) string {
	head, rule := "| nodes | implementation |", "|---|---|"
	for _, c := range t.metrics {
		head, rule = head+" "+c.name+" |", rule+"---:|"
	}
	rows := ""
	for _, nodes := range t.nodes {
		for _, library := range t.libraries {
			for _, driver := range drivers {
				c := cell(t.work, nodes, t.clients, library, driver)
				if library == peer.CeilingName {
					c = best(t.work, nodes, driver, r)
				}
				row := ""
				for _, column := range t.metrics {
					text := missing
					if v, ok := r.Value(measure.Key{Cell: c, Metric: column.metric}); ok {
						text = Number(v)
					}
					row += " " + text + " |"
				}
				if strings.Count(row, missing) < len(t.metrics) {
					rows += fmt.Sprintf("| %d | %s |%s\n", nodes, c.Implementation, row)
				}
			}
		}
	}
	if rows == "" {
		return ""
	}
	return head + "\n" + rule + "\n" + rows
}

// best returns the cell of a driver's ceiling with the highest rate.
func best(work string, nodes int, driver string, r *measure.Results) measure.Cell {
	var keys []measure.Key
	for _, key := range ceilings(measure.Rate, nodes, driver) {
		key.Work = work
		keys = append(keys, key)
	}
	for _, key := range (Bar{Than: keys, Best: measure.Rate}).candidates(r) {
		return key.Cell
	}
	return keys[0].Cell
}

// barTable returns the bars in Markdown, "" if none was measured. Missed bars are in bold.
func barTable(bars []Bar, r *measure.Results) string {
	rows := ""
	for _, bar := range bars {
		v := bar.Judge(r)
		if !v.Measured {
			continue
		}
		got, relation := Number(v.Got), "≤"
		if !v.Met() {
			got = "**" + got + "**"
		}
		if v.AtLeast {
			relation = "≥"
		}
		rows += fmt.Sprintf("| %s | %s %v | %s |\n", v.about(), relation, v.Limit, got)
	}
	if rows == "" {
		return ""
	}
	return "| work | target | reached |\n|---|---:|---:|\n" + rows
}
