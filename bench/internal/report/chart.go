package report

import (
	_ "embed"
	"io"
	"math"
	"strings"
	"text/template"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
)

//go:embed chart.svg.tmpl
var chartText string

var chartTemplate = template.Must(template.New("chart").Parse(chartText))

// panel is a part of the chart: one metric for some libraries.
type panel struct {
	title, note string
	metric      string
	highest     bool // the best one is the highest
	oneScale    bool // the same scale for all groups; otherwise each has its own
	groups      []group
}

// group is a set of bars that are compared in a panel.
type group struct {
	label          string
	work           string
	nodes, clients int
}

// libraries are the libraries in the chart, in this order.
var libraries = []struct{ name, label, class string }{
	{peer.Own, "quorumlock", "own"},
	{peer.Redsync, "redsync", "peer"},
	{peer.RedsyncFailFast, "redsync, fail-fast", "peer"},
	{peer.Redislock, "bsm/redislock", "peer"},
	{peer.Rueidislock, "rueidislock", "peer"},
	{peer.CeilingName, "driver's pipeline", "mark"},
}

func panels() []panel {
	return []panel{
		{
			title: "Throughput", note: "lock and unlock per second, 64 goroutines, distinct keys; longer is better",
			metric: measure.Rate, highest: true,
			groups: []group{{"1 node", "distinct", 1, 64}, {"3 nodes", "distinct", 3, 64}, {"5 nodes", "distinct", 5, 64}},
		},
		{
			title: "Contention", note: "ms until each of 64 clients has had one lock for 1 ms; shorter is better",
			metric: measure.Drain,
			groups: []group{{"1 node", "drain", 1, 64}, {"3 nodes", "drain", 3, 64}},
		},
		{
			title: "Fairness", note: "Jain's index, 16 clients who lock one key for 3 s; 1 is fair, 1/16 unfair",
			metric: measure.Fairness, highest: true, oneScale: true,
			groups: []group{{"1 node", "handoff", 1, 16}, {"3 nodes", "handoff", 3, 16}},
		},
		{
			title: "One of three nodes hung", note: "µs for a lock, 99th percentile; shorter is better",
			metric: measure.LockTail, oneScale: true,
			groups: []group{{"healthy", "healthy", 3, 1}, {"one hung", "hung", 3, 1}},
		},
	}
}

// Sizes in the chart.
const (
	margin      = 24.
	panelWidth  = 430.
	gutter      = 30.
	labelRight  = 122. // where the names end
	ruleStart   = 68.
	barStart    = labelRight + 8
	barSpace    = panelWidth - barStart - 64 // for the longest bar, and its number after it
	rowHeight   = 18.
	thick       = 12.
	headHeight  = 34.
	groupHeight = 20.
	columns2    = 2
)

// The parts of the chart for the template.
type (
	drawing struct {
		Width, Height float64
		Label, Foot   string
		FootX, FootY  float64
		Panels        []drawnPanel
	}
	drawnPanel struct {
		X, Y        float64
		Title, Note string
		Groups      []drawnGroup
	}
	drawnGroup struct {
		Label                      string
		Y, RuleFrom, RuleTo, RuleY float64
		Bars                       []drawnBar
	}
	drawnBar struct {
		Name, Value, Class                         string
		Own                                        bool
		LabelX, TextY, X, Y, Length, Thick, ValueX float64
	}
)

// Chart writes the most important results as an SVG. Each library has the driver with which it is
// best, and foot describes the machine and the servers. Missing measurements are left out.
func Chart(w io.Writer, foot string, r *measure.Results) error {
	d := drawing{
		Width: 2*margin + columns2*panelWidth + (columns2-1)*gutter,
		Label: "Quorumlock beside other lock libraries: throughput, contention, fairness, and a node that hangs",
		Foot:  "Each library over the driver with which it does best. " + foot + ".",
		FootX: margin,
	}
	y, column, tallest := margin+10, 0, 0.
	for _, p := range panels() {
		drawn, height := p.draw(r)
		if len(drawn.Groups) == 0 {
			continue
		}
		if column == columns2 {
			y, column, tallest = y+tallest+gutter, 0, 0
		}
		drawn.X, drawn.Y = margin+float64(column)*(panelWidth+gutter), y
		d.Panels = append(d.Panels, drawn)
		column, tallest = column+1, max(tallest, height)
	}
	d.FootY = y + tallest + gutter
	d.Height = d.FootY + margin/2
	return chartTemplate.Execute(w, d)
}

// draw lays out the panel relative to its own origin, and returns its height.
func (p panel) draw(r *measure.Results) (drawnPanel, float64) {
	drawn := drawnPanel{Title: p.title, Note: p.note}
	longest := p.longest(r, p.groups)
	y := headHeight
	for _, g := range p.groups {
		if !p.oneScale {
			longest = p.longest(r, []group{g})
		}
		group := drawnGroup{Label: g.label, Y: y + groupHeight - 6, RuleY: y + groupHeight - 10, RuleFrom: ruleStart, RuleTo: panelWidth}
		rows := y + groupHeight
		for _, library := range libraries {
			number, ok := p.best(r, g, library.name)
			if !ok {
				continue
			}
			length := max(1, barSpace*number/longest)
			group.Bars = append(group.Bars, drawnBar{
				Name: library.label, Value: Number(number), Class: library.class, Own: library.name == peer.Own,
				LabelX: labelRight, X: barStart, Y: rows, Length: length, Thick: thick,
				TextY: rows + thick - 2, ValueX: barStart + length + 5,
			})
			rows += rowHeight
		}
		if len(group.Bars) > 0 {
			drawn.Groups = append(drawn.Groups, group)
			y = rows
		}
	}
	return drawn, y
}

// longest returns the greatest number of some groups.
func (p panel) longest(r *measure.Results, groups []group) float64 {
	longest := 0.
	for _, g := range groups {
		for _, library := range libraries {
			if number, ok := p.best(r, g, library.name); ok {
				longest = max(longest, number)
			}
		}
	}
	return longest
}

// best returns a library's best result over its drivers.
func (p panel) best(r *measure.Results, g group, library string) (float64, bool) {
	best, found := math.NaN(), false
	for _, key := range r.Keys() {
		if key.Work != g.work || key.Nodes != g.nodes || key.Clients != g.clients || key.Metric != p.metric ||
			!strings.HasPrefix(key.Implementation, library+"/") {
			continue
		}
		if v, ok := r.Value(key); ok && (!found || p.highest == (v > best)) {
			best, found = v, true
		}
	}
	return best, found
}
